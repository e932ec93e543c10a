"""A corpus is made from files: gathered, cleaned, without copies, split by file, and named by a digest.

It is the first station of a model's training. This module knows text and files, and nothing of tokens or models.
"""

import hashlib
import io
import json
import re
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from calmops.foundation.errors import InputError

SUFFIXES = (".py", ".txt", ".md", ".rst")
HELD_OUT_ONE_IN = 20
NEAR_COPY_SHARE = 0.7
MAX_FILE_BYTES = 1_000_000
ARCHIVE_LICENSE = "LICENSE.txt"
STDLIB_LEFT_OUT = re.compile(
    r"(^|/)(site-packages|dist-packages|test|tests|idlelib|lib2to3|encodings|pydoc_data|turtledemo|ensurepip|"
    r"__pycache__)/|(^|/)config-[^/]*/|(^|/)_sysconfigdata[^/]*\.py$"
)


class Document(NamedTuple):
    """Holds one cleaned file. ``path`` is relative to the corpus root, ``sha256`` is that of ``text`` in UTF-8."""

    path: str
    text: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Holds documents split by file, in path order, and the number of files left out, by reason."""

    training: tuple[Document, ...]
    held_out: tuple[Document, ...]
    left_out: dict[str, int]


def stdlib_files() -> Iterator[tuple[str, bytes]]:
    """Yield Python's own library as (relative path, bytes), without tests, generated tables and machine settings."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not STDLIB_LEFT_OUT.search(name):
            yield name, path.read_bytes()


def folder_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every text file under ``root`` (SUFFIXES) as (relative path, bytes), in path order."""
    if not root.is_dir():
        raise InputError(f"corpus folder {root} is not a folder; name one that holds {', '.join(SUFFIXES)} files")
    for path in sorted(root.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            yield path.relative_to(root).as_posix(), path.read_bytes()


def archive_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an archive that write_archive() made, in path order, without its licence."""
    with tarfile.open(archive, "r:xz") as tar:
        members = sorted((m for m in tar if m.isfile() and m.name != ARCHIVE_LICENSE), key=lambda m: m.name)
        for member in members:
            content = tar.extractfile(member)
            assert content is not None, f"{member.name} is a file, so it can be read"
            yield member.name, content.read()


def build_corpus(files: Iterable[tuple[str, bytes]]) -> Corpus:
    """Clean the files, drop copies and split the rest; the same files give the same corpus on any machine."""
    left_out = dict.fromkeys(("too_large", "not_utf8", "empty", "same_text", "near_copy"), 0)
    kept: list[Document] = []
    seen: set[str] = set()
    kept_lines: list[frozenset[str]] = []
    for path, raw in files:
        document, reason = _read(path, raw)
        lines = frozenset[str]()
        if document is not None:
            lines = _distinctive_lines(document.text)
            if document.sha256 in seen:
                reason = "same_text"
            elif _nearly_in(lines, kept_lines):
                reason = "near_copy"
        if document is None or reason:
            left_out[reason] += 1
            continue
        seen.add(document.sha256)
        kept_lines.append(lines)
        kept.append(document)
    kept.sort(key=lambda document: document.path)
    return Corpus(
        training=tuple(d for d in kept if not is_held_out(d.sha256)),
        held_out=tuple(d for d in kept if is_held_out(d.sha256)),
        left_out=left_out,
    )


def is_held_out(sha256: str) -> bool:
    """Return whether a file is held out: one digest in HELD_OUT_ONE_IN, whatever else is in the corpus."""
    return int(sha256[:8], 16) % HELD_OUT_ONE_IN == 0


def clean(text: str) -> str:
    """Return the text with LF line ends, without trailing blanks and without control characters except tab and LF.

    A form feed becomes a line end; more than two blank lines in a row become two.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").removeprefix("\ufeff")
    text = re.sub(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", "", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    return text.strip("\n") + "\n"


def manifest(corpus: Corpus) -> dict[str, object]:
    """Return paths, sizes in bytes and digests of both splits, as they are written beside a release."""

    def rows(documents: tuple[Document, ...]) -> list[list[object]]:
        return [[d.path, len(d.text.encode()), d.sha256] for d in documents]

    return {
        "columns": ["path", "bytes", "sha256"],
        "left_out": corpus.left_out,
        "training": rows(corpus.training),
        "held_out": rows(corpus.held_out),
    }


def manifest_digest(corpus: Corpus) -> str:
    """Return the SHA-256 (hex) of the manifest's canonical JSON: it is equal for equal corpora only."""
    text = json.dumps(manifest(corpus), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_archive(files: Iterable[tuple[str, bytes]], archive: Path, *, license_text: str) -> None:
    """Write the raw files and their licence into one .tar.xz, with fixed times and owners."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name, raw in ((ARCHIVE_LICENSE, license_text.encode()), *files):
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))


def _read(path: str, raw: bytes) -> tuple[Document | None, str]:
    if len(raw) > MAX_FILE_BYTES:
        return None, "too_large"
    try:
        text = clean(raw.decode())
    except UnicodeDecodeError:
        return None, "not_utf8"
    if not text.strip():
        return None, "empty"
    return Document(path, text, hashlib.sha256(text.encode()).hexdigest()), ""


def _distinctive_lines(text: str) -> frozenset[str]:
    """Return the lines by which files can be compared: those of at least 12 characters once stripped."""
    return frozenset(line for raw in text.splitlines() if len(line := raw.strip()) >= 12)


def _nearly_in(lines: frozenset[str], kept_lines: list[frozenset[str]]) -> bool:
    """Return whether one kept file has NEAR_COPY_SHARE of these lines; fewer than 8 lines never make a copy."""
    if len(lines) < 8:
        return False
    return any(len(lines & other) >= NEAR_COPY_SHARE * len(lines) for other in kept_lines)
