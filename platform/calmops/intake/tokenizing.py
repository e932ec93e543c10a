"""Turns text into token ids and back, right after parsing. Knows no request and no model weights.

A client's text never yields a control token: the tokenizer reads strings of special tokens as plain text, and a last
check breaks up a string that the vocabulary maps to a special id nevertheless.
"""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from calmops.foundation.errors import ReleaseError, TokenizationError
from calmops.foundation.special_tokens import AddedToken, added_tokens


class TextTokenizer:
    """Encodes and decodes with one release's tokenizer.

    ``encode`` takes any text; only the chat template uses ``specials``.
    """

    def __init__(self, spec: str, model: str = "") -> None:
        """Read ``spec``, the text of a tokenizer.json; raise ReleaseError if it can't be read.

        ``model``: the name that errors give.
        """
        self._model = model
        try:
            document = json.loads(spec)
            added = added_tokens(document)
            _flag_control_tokens(document, added)
            self._tokenizer = Tokenizer.from_str(json.dumps(document))
        except Exception as error:  # tokenizers raises plain Exception
            raise ReleaseError(f"tokenizer.json can't be read: {error}") from error
        self.spec = spec
        self.specials = {token.content: token.token_id for token in added if token.control and token.content}
        self.strip_before = frozenset(token.content for token in added if token.strips_before)
        self.strip_after = frozenset(token.content for token in added if token.strips_after)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # strings of special tokens in a text are text
        self._forbidden = frozenset(self.specials.values()) - _unknown_ids(document, self.specials)
        self.size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.longest_token_chars = max((len(token) for token in self._tokenizer.get_vocab()), default=1)
        self._prefix, self._suffix = _frame_ids(self._tokenizer)

    @classmethod
    def load(cls, path: Path, model: str = "") -> "TextTokenizer":
        """Read a tokenizer.json file; raise ReleaseError if it can't be read."""
        try:
            return cls(path.read_text(encoding="utf-8"), model)
        except (OSError, UnicodeDecodeError) as error:
            raise ReleaseError(f"{path}: {error}") from error

    def encode(self, text: str, *, framed: bool = False) -> tuple[int, ...]:
        """Return the ids of plain text; ``framed`` adds the tokens that the release puts around a prompt (BOS).

        No id is special, except those of the frame and the unknown token. Raises TokenizationError if the tokenizer
        breaks on the text.
        """
        ids = self._plain(text_only(text))
        return (*self._prefix, *ids, *self._suffix) if framed else tuple(ids)

    def decode(self, ids: tuple[int, ...]) -> str:
        """Return the text of ids, special tokens as their strings; raise TokenizationError if the tokenizer breaks."""
        try:
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))
        except Exception as error:  # tokenizers raises plain Exception
            raise TokenizationError(
                f"the tokenizer of {self._model!r} broke on {len(ids)} ids: {error}", model=self._model, stage="decode"
            ) from error

    def _ids(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # as above
            raise TokenizationError(
                f"the tokenizer of {self._model!r} broke on a text of {len(text)} characters: {error}",
                model=self._model,
                stage="encode",
            ) from error
        return ids

    def _plain(self, text: str) -> list[int]:
        ids = self._ids(text)
        if self._forbidden.isdisjoint(ids):
            return ids
        if len(text) == 1:  # a lone character that is itself a control token has no plain spelling
            return [i for i in ids if i not in self._forbidden]
        return self._broken_up(text)

    def _broken_up(self, text: str) -> list[int]:
        """Encode in pieces, cut inside every string of a control token that the vocabulary would match."""
        names = sorted((name for name in self.specials if len(name) > 1), key=len, reverse=True)
        pattern = re.compile("|".join(re.escape(name) for name in names))
        cuts = [match.start() + 1 for match in pattern.finditer(text)] if names else []
        edges = [0, *cuts, len(text)] if cuts else [0, len(text) // 2, len(text)]
        ids: list[int] = []
        for start, end in pairwise(edges):
            piece = self._ids(text[start:end])
            ids += piece if self._forbidden.isdisjoint(piece) else self._letter_by_letter(text[start:end])
        return ids

    def _letter_by_letter(self, text: str) -> list[int]:
        pieces = (self._ids(letter) for letter in text)
        return [i for piece in pieces for i in piece if i not in self._forbidden]


def text_only(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate, which no encoding can carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _flag_control_tokens(document: dict[str, Any], added: tuple[AddedToken, ...]) -> None:
    """Flag every control token as special in the document, so that the tokenizer reads its string in a text as text."""
    for entry, token in zip(document.get("added_tokens", ()), added, strict=True):
        entry["special"] = token.control


def _unknown_ids(document: dict[str, Any], specials: dict[str, int]) -> frozenset[int]:
    """Return the unknown token's id: text may yield it, and it controls nothing."""
    model = document.get("model", {})
    ids = {model["unk_id"]} if isinstance(model.get("unk_id"), int) else set()
    if model.get("unk_token") in specials:
        ids.add(specials[model["unk_token"]])
    return frozenset(ids)


def _frame_ids(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids that the post-processor puts before and after a text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return tuple(framed[:start]), tuple(framed[start + len(bare) :])
    return (), ()
