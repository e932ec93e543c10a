"""A release as training exports it: whole, loadable, and with the chat format that it was trained on."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from calmops.foundation.release import verify
from calmops.training.card.evaluate import model_bits
from calmops.training.data.tokenizer import Turn, encode_chat, train_tokenizer
from calmops.training.export import export_release
from tests.support.engine.tiny_checkpoints import CONFIGS, TEXTS, VOCABULARY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release of a tiny llama with random weights: means nothing, has every file."""
    tokenizer = train_tokenizer(TEXTS, VOCABULARY)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "vocab_size": tokenizer.get_vocab_size()}
    config = AutoConfig.for_model("llama", **{**CONFIGS["llama"], **ids})
    torch.manual_seed(0)
    export_release(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path / "tiny", dtype=torch.float32)
    return tmp_path / "tiny"


def test_a_tiny_release_is_whole_and_loads(folder: Path) -> None:
    assert verify(folder).name == "tiny"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.head_dim == CONFIGS["llama"]["hidden_size"] // CONFIGS["llama"]["num_attention_heads"]
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_rendered_chat_has_the_ids_that_training_used(folder: Path) -> None:
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(folder)
    text = theirs.apply_chat_template([{"role": "user", "content": "naïve 🙂 x1"}], tokenize=False)
    assert ours.encode(text, add_special_tokens=False).ids == encode_chat(ours, [Turn("user", "naïve 🙂 x1")])
    assert theirs.eos_token_id == 1


def test_windows_give_the_bits_of_one_pass_while_the_text_fits(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(5, 250, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    whole = model_bits(model, ids, window=64)
    assert abs(whole - loss * 39 / 0.6931471805599453) < 1e-3 * whole
    assert abs(model_bits(model, ids, window=16) - whole) < 0.2 * whole
