"""Find the proofs, read what each declares at its head, and select those that a person names.

A proof is an executable ``tests/proofs/<topic>/<what>``. It takes ``--short`` or ``--long``, prints its figure last and
exits 0 only if its claim holds. Its head declares, in comments of the first 40 lines:

- ``# paths: ...``: the files and folders that its claim depends on; ``!path`` leaves one out again. Several such
  lines add up.
- ``# needs: platform`` or ``# needs: observed``: the shared platform that it wants (shared_platform.py), whose
  address is then in CALMOPS_PROOF_URL. ``(short form)`` after it: the long form starts a platform of its own.
- ``# minutes: N``: how long the long form may take, where 20 minutes are too few; at most 30.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.proofs.shared_platform import KINDS, OBSERVED

HEADER_LINES = 40
LONG_MINUTES, MOST_MINUTES = 20, 30  # the most that one may declare
ORDER = (None, *KINDS)  # proofs that need no platform first, then those of one kind after the other


class Proof(NamedTuple):
    """One executable and what it declares."""

    path: Path
    paths: tuple[str, ...]
    needs: str | None  # a kind of shared platform
    minutes: int = LONG_MINUTES  # that the long form may take

    @property
    def name(self) -> str:
        """Return ``<topic>/<what>``."""
        return f"{self.path.parent.name}/{self.path.name}"


class Selection(NamedTuple):
    """The proofs that somebody asked for, and what to tell them about the names that they used."""

    proofs: list[Proof]
    notes: list[str]


def discover(folder: Path, *, long: bool) -> list[Proof]:
    """Return every proof under ``folder``, by name; those that need a shared platform come last, by its kind."""
    files = (file for topic in folder.iterdir() if topic.is_dir() for file in topic.iterdir())
    proofs = [declared(file, long=long) for file in files if is_proof(file)]
    return sorted(proofs, key=lambda proof: (ORDER.index(proof.needs), proof.name))


def is_proof(file: Path) -> bool:
    """Say whether ``file`` is an executable without a suffix."""
    return file.is_file() and not file.suffix and os.access(file, os.X_OK)


def declared(file: Path, *, long: bool) -> Proof:
    """Read what a proof declares about one of its forms. Short forms share one platform, the observed one."""
    head = file.read_text(encoding="utf-8").splitlines()[:HEADER_LINES]
    needs = [line for line in values(head, "needs") if not (long and "(short form)" in line)]
    kinds = [word for line in needs for word in line.split() if word in KINDS]
    minutes = [int(line) for line in values(head, "minutes")]
    return Proof(
        file,
        tuple(word for line in values(head, "paths") for word in line.split()),
        None if not kinds else kinds[0] if long else OBSERVED,
        minutes[0] if minutes else LONG_MINUTES,
    )


def values(head: Sequence[str], key: str) -> list[str]:
    """Return what stands after ``# key:`` in each line that begins so."""
    return [line.removeprefix(f"# {key}:").strip() for line in head if line.startswith(f"# {key}:")]


def select(proofs: Sequence[Proof], prefixes: Sequence[str], old_names: Mapping[str, str]) -> Selection:
    """Return the proofs whose name, with or without its topic, begins with one of the prefixes; all without a prefix.

    A prefix may also be of a name that a proof had before (``old_names``: old to new). A path to the executable is a
    name too.
    """
    if not prefixes:
        return Selection(list(proofs), [])
    names, notes = set[str](), []
    for prefix in (given.removeprefix("./").removeprefix("tests/proofs/") for given in prefixes):
        matches = {proof.name for proof in proofs if prefix and has_prefix(proof, prefix)}
        renamed = {} if matches else {old: new for old, new in old_names.items() if prefix and old.startswith(prefix)}
        names |= matches | set(renamed.values())
        notes += [f"{old} is called {new} now" for old, new in renamed.items()]
        notes += [] if matches or renamed else [f"no proof's name begins with {prefix!r}"]
    return Selection([proof for proof in proofs if proof.name in names], notes)


def has_prefix(proof: Proof, prefix: str) -> bool:
    """Say whether a proof's name begins so: ``failover``, ``failover/kill`` or ``kill``."""
    return proof.name.startswith(prefix) or proof.path.name.startswith(prefix)
