"""The models that we train use byte-level BPE and the chat format of this module.

It stands before training: the corpus goes in; ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``
come out, readable by ``tokenizers.Tokenizer.from_file`` and by transformers' ``AutoTokenizer``. It knows nothing of
models or of how a running gateway renders.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BEGIN = "<|begin|>"
END = "<|end|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
SPECIAL_TOKENS = (BEGIN, END, SYSTEM, USER, ASSISTANT)
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('role must be system, user or assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


class Turn(NamedTuple):
    """Holds one message of a conversation; ``role`` is system, user or assistant."""

    role: str
    content: str


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train byte-level BPE with at most ``vocabulary`` entries (>= SMALLEST_VOCABULARY); special tokens get ids 0..4.

    The same texts in the same order give the same tokenizer. It encodes any byte string: there is no unknown token.
    """
    assert vocabulary >= SMALLEST_VOCABULARY, f"vocabulary {vocabulary} < {SMALLEST_VOCABULARY}"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, special_id(tokenizer, BEGIN))]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, context: int) -> None:
    """Write the three tokenizer files into ``folder``; ``context`` is the model's window in tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": END,
        "extra_special_tokens": [SYSTEM, USER, ASSISTANT],
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def encode_file(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return a whole file as the model sees it: begin, the text's tokens, end. Special strings stay text."""
    return [special_id(tokenizer, BEGIN), *plain_ids(tokenizer, text), special_id(tokenizer, END)]


def encode_chat(tokenizer: Tokenizer, turns: Sequence[Turn]) -> list[int]:
    """Return a conversation's ids as CHAT_TEMPLATE renders it; special strings in the contents stay text."""
    return list(_chat_ids(tokenizer, turns))


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the token ids of ``text`` without a begin token; a special string inside it is encoded by its letters."""
    ids: list[int] = []
    for piece, _span in tokenizer.pre_tokenizer.pre_tokenize_str(text):
        ids.extend(token.id for token in tokenizer.model.tokenize(piece))
    return ids


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of one of SPECIAL_TOKENS."""
    token_id = tokenizer.token_to_id(token)
    assert token_id is not None, f"the tokenizer has no {token}; it isn't one of ours"
    return token_id


def _chat_ids(tokenizer: Tokenizer, turns: Sequence[Turn]) -> Iterator[int]:
    yield special_id(tokenizer, BEGIN)
    newline = plain_ids(tokenizer, "\n")
    for turn in turns:
        yield special_id(tokenizer, f"<|{turn.role}|>")
        yield from plain_ids(tokenizer, "\n" + turn.content)
        yield special_id(tokenizer, END)
        yield from newline
