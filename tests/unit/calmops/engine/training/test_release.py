from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from calmops.foundation.release import verify
from calmops.training.card.evaluate import model_bits
from calmops.training.data.tokenizer import Turn, encode_chat
from calmops.training.tiny_releases import random_release


def test_a_tiny_release_is_whole_and_loads(tmp_path: Path) -> None:
    folder = random_release(tmp_path / "tiny")
    assert verify(folder).name == "tiny"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.head_dim == 64
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_rendered_chat_has_the_ids_that_training_used(tmp_path: Path) -> None:
    folder = random_release(tmp_path / "tiny")
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(folder)
    text = theirs.apply_chat_template([{"role": "user", "content": "naïve 🙂 x1"}], tokenize=False)
    assert ours.encode(text, add_special_tokens=False).ids == encode_chat(ours, [Turn("user", "naïve 🙂 x1")])
    assert theirs.eos_token_id == 1


def test_windows_give_the_bits_of_one_pass_while_the_text_fits(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(random_release(tmp_path / "tiny")).eval()
    ids = torch.randint(5, 250, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    whole = model_bits(model, ids, window=64)
    assert abs(whole - loss * 39 / 0.6931471805599453) < 1e-3 * whole
    assert abs(model_bits(model, ids, window=16) - whole) < 0.2 * whole
