"""A release pins weights, tokenizer and chat template together by SHA-256, in ``release.json`` beside them.

The gateway reads it for its tokenizer and the engine for its weights, so both refuse files that don't belong together.
This module knows no tensor and no tokenizer, only files and digests.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from calmops.foundation.errors import ReleaseError

RELEASE_FILE = "release.json"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip
MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors.index.json")
_READ_BYTES = 1 << 20


class Release(Struct, frozen=True, kw_only=True):
    """Names the files of one pinned release. Digests are lower-case SHA-256 in hexadecimal."""

    name: str
    files: dict[str, str]  # name relative to the folder -> digest of its bytes
    tokenizer_digest: str  # of the tokenizer's files alone: the gateway's and the replica's must be equal
    digest: str  # of every file


def read_release(folder: Path) -> Release:
    """Read release.json and check it against itself, but not yet against the files.

    Raises ReleaseError if it is missing or malformed, or if its own digests don't follow from its list of files.
    """
    path = folder / RELEASE_FILE
    if not path.is_file():
        raise ReleaseError(f"{path} is missing: it pins the checkpoint's files; write it with `calmops pin {folder}`")
    try:
        release = msgspec.json.decode(path.read_bytes(), type=Release)
    except msgspec.DecodeError as error:
        raise ReleaseError(f"{path} is not a release file: {error}") from error
    for label, stated, actual in (
        ("tokenizer_digest", release.tokenizer_digest, _digest_of(_tokenizer_part(release.files))),
        ("digest", release.digest, _digest_of(release.files)),
    ):
        if stated != actual:
            raise ReleaseError(f"{path}: {label} is {stated}, but its files give {actual}")
    return release


def verify(folder: Path, *, tokenizer_only: bool = False) -> Release:
    """Hash the files (with ``tokenizer_only``, the tokenizer's alone) and compare them with release.json.

    Raises ReleaseError naming the first file, in order of name, that differs, with the digest expected and the digest
    found. Raises it too for a listed file that is missing and for a file of a pinned kind that isn't listed.
    """
    release = read_release(folder)
    wanted = _tokenizer_part(release.files) if tokenizer_only else release.files
    for name in sorted(wanted):
        path = folder / name
        if not path.is_file():
            raise ReleaseError(f"{path}: expected sha256 {wanted[name]}, found no file")
        actual = _file_digest(path)
        if actual != wanted[name]:
            raise ReleaseError(f"{path}: expected sha256 {wanted[name]}, found {actual}")
    for name in _pinned_names(folder):
        is_wanted_kind = name in TOKENIZER_FILES or not tokenizer_only
        if is_wanted_kind and name not in release.files:
            raise ReleaseError(f"{folder / name}: expected no such file (release.json doesn't list it), found one")
    return release


def write_release(folder: Path, name: str | None = None) -> Release:
    """Pin the files that lie in ``folder`` now: write release.json and return it. ``name`` defaults to the folder's.

    Raises ReleaseError if ``folder`` is no folder, or holds nothing to pin.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder} is not a folder; name the one that holds the checkpoint")
    files = {file: _file_digest(folder / file) for file in _pinned_names(folder)}
    if not files:
        raise ReleaseError(f"{folder} holds no model and no tokenizer file: nothing to pin")
    release = Release(
        name=name or folder.resolve().name,
        files=files,
        tokenizer_digest=_digest_of(_tokenizer_part(files)),
        digest=_digest_of(files),
    )
    body = msgspec.json.format(msgspec.json.encode(release), indent=2)
    (folder / RELEASE_FILE).write_bytes(body + b"\n")
    return release


def _pinned_names(folder: Path) -> list[str]:
    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [name for name in present if name in TOKENIZER_FILES or name in MODEL_FILES or name.endswith(".safetensors")]


def _tokenizer_part(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name in TOKENIZER_FILES}


def _digest_of(files: Mapping[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
