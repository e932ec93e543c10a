"""Reads the bytes of each token id from tokenizer.json, once per engine. Knows no stream.

Byte-level tokenizers spell a byte as one printable character (GPT-2's table); sentencepiece-like ones
write U+2581 for a space and ``<0xE2>`` for a byte. Special tokens have no bytes, since they are never text; which
tokens are special, ``foundation/special_tokens.py`` says.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from calmops.foundation.errors import ReleaseError, UnsupportedModel
from calmops.foundation.special_tokens import added_tokens

_SPACE = "\u2581"
_BYTE_TOKEN_LENGTH = len("<0xE2>")


class Vocabulary:
    """Holds the bytes of each token by its id, for ids 0..size - 1."""

    def __init__(self, folder: Path) -> None:
        """Read ``folder``/tokenizer.json; raise ReleaseError if it is missing, UnsupportedModel for another decoder."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ReleaseError(f"{path} is missing: without its tokenizer a model's tokens are no text")
        tokenizer = Tokenizer.from_file(str(path))
        parsed = json.loads(path.read_text(encoding="utf-8"))
        spell = _spelling(parsed.get("decoder"), path)
        added = {entry.token_id: entry for entry in added_tokens(parsed)}
        ids = tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(ids.values()) + 1
        self._bytes = [b""] * self.size
        for token, token_id in ids.items():
            entry = added.get(token_id)
            if entry is None:
                self._bytes[token_id] = spell(token)
            elif not entry.special:
                self._bytes[token_id] = token.encode()

    def bytes_of(self, token_id: int) -> bytes:
        """Return what the token adds to the text; empty for a special token and for an unknown id."""
        return self._bytes[token_id] if 0 <= token_id < self.size else b""


def _spelling(decoder: Any, path: Path) -> Any:
    """Return the function from a token's spelling to its bytes that the tokenizer's decoder implies."""
    kinds = {decoder["type"]} if decoder else set()
    kinds |= {part["type"] for part in (decoder or {}).get("decoders", ())}
    if "ByteLevel" in kinds:
        table = _byte_table()
        return lambda token: b"".join(table.get(char, char.encode()) for char in token)
    if kinds & {"ByteFallback", "Metaspace", "Replace"}:
        return _spaced
    raise UnsupportedModel(f"{path}: the tokenizer's decoder is {sorted(kinds)}; byte-level and byte-fallback ones run")


def _spaced(token: str) -> bytes:
    if len(token) == _BYTE_TOKEN_LENGTH and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace(_SPACE, " ").encode()


def _byte_table() -> dict[str, bytes]:
    """Return the byte of each character: printable Latin-1 is itself, the other 68 are numbered from U+0100 up."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    table = {chr(byte): bytes([byte]) for byte in own}
    return table | {chr(256 + i): bytes([byte]) for i, byte in enumerate(others)}
