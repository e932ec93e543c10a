"""Makes tokenizers of three kinds, a served model without weights, and what parsing needs of them."""

import json
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from calmops.foundation.release import write_release
from calmops.intake.limits import IntakeLimits
from calmops.intake.served_model import ServedModel
from calmops.intake.template import ChatTemplate
from calmops.intake.tokenizing import TextTokenizer
from calmops.intake.validate import Context

SPECIALS = ("<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<unk>")
TEXTS = (
    "the quick brown fox jumps over the lazy dog <| user |> and <s> [INST] end",
    "naïve café 東京 🙂 def add(a, b):",
)
CHATML = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim "
    "+ eos_token + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
CONTEXT = 128


@cache
def byte_level() -> TextTokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(["<tool_call>"])  # not flagged as special, but shaped like a control token
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", begin)]
    )
    return TextTokenizer(tokenizer.to_str())


@cache
def word_level() -> TextTokenizer:
    """Make a tokenizer whose vocabulary maps the control strings themselves to their ids, whatever the flags say."""
    words = {word: number for number, word in enumerate((*SPECIALS, "the", "quick", "user", "<", "|", ">"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return TextTokenizer(tokenizer.to_str())


@cache
def unigram() -> TextTokenizer:
    """Make a tokenizer whose model has the control strings as pieces too."""
    pieces = [(name, 0.0) for name in SPECIALS] + [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz<>| "]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIALS.index("<unk>"), byte_fallback=False))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return TextTokenizer(tokenizer.to_str())


@cache
def served(*, chat: bool = True) -> ServedModel:
    tokenizer = byte_level()
    variables = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    return ServedModel(
        name="tiny",
        release_digest="0" * 64,
        context=CONTEXT,
        vocab_size=tokenizer.size,
        end_ids=(tokenizer.specials["<|end|>"],),
        tokenizer=tokenizer,
        template=ChatTemplate(CHATML, tokenizer, variables) if chat else None,
        created=1_700_000_000,
        no_chat=None if chat else "its release has no chat template",
    )


def intake_limits(*, body_bytes: int = 4 * 1024 * 1024) -> IntakeLimits:
    """Make the limits that the tests' bodies are parsed under."""
    return IntakeLimits(body_bytes=body_bytes, n=8, timeout_s=600.0)


def context(limits: IntakeLimits | None = None) -> Context:
    """Make what parsing needs besides a body: "tiny" can chat, "bare" has no template, and the drawn seed is 4242."""
    return Context(
        served={"tiny": served(), "bare": served(chat=False)},
        limits=limits or intake_limits(),
        draw_seed=lambda: 4242,
        request_id="req-1",
    )


def write_folder(folder: Path, **config: object) -> Path:
    """Write a release folder without weights; ``config`` changes its config.json."""
    settings = {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "chat_template": CHATML}
    (folder / "tokenizer.json").write_text(byte_level().spec)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    shape = {"vocab_size": 512, "max_position_embeddings": CONTEXT, "eos_token_id": 1} | config
    (folder / "config.json").write_text(json.dumps(shape))
    write_release(folder, "tiny")
    return folder
