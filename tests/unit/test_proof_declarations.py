"""Keep what proofs declare at their head complete and true: the log says that an entry stands as long as they do."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proofs.runner.changes import missing_paths, pathspecs
from tests.support.proofs.runner.log import read_entries
from tests.support.proofs.runner.old_names import OLD_NAME, read_old_names
from tests.support.proofs.runner.proof import MOST_MINUTES, Proof, discover
from tests.support.proofs.shared_platform import KINDS
from tests.unit.test_tidy import ROOT, imports_of, name_of, tree_of

PROOFS = ROOT / "tests" / "proofs"
OLD_NAMES = read_old_names((PROOFS / "renamed.md").read_text(encoding="utf-8"))
REPLACED = {"speed-10-http"}  # entries of a proof whose successor shows something else
TEST_MODULE = re.compile(r"\btests(?:\.\w+)+")
BOTH_FORMS = {proof.name: proof for proof in discover(PROOFS, long=True)}
EACH = pytest.mark.parametrize("proof", BOTH_FORMS.values(), ids=BOTH_FORMS)


@EACH
def test_a_proof_declares_the_test_files_that_it_rests_on(proof: Proof) -> None:
    undeclared = [name for name in map(name_of, sorted(behind(proof.path))) if not is_under(name, proof.paths)]
    assert not undeclared, "the log would say that it stands although these changed"


@EACH
def test_a_proof_declares_paths_that_exist_and_the_platform_that_it_needs(proof: Proof) -> None:
    assert proof.paths and not missing_paths(proof)
    platform = [] if proof.needs is None else ["shared_platform.py", KINDS[proof.needs]]
    assert not [name for name in platform if not is_under(f"tests/support/proofs/{name}", proof.paths)]


@EACH
def test_a_proofs_long_form_asks_for_at_most_half_an_hour(proof: Proof) -> None:
    assert 0 < proof.minutes <= MOST_MINUTES


@EACH
def test_a_readme_or_a_page_of_the_docs_voids_no_proof(proof: Proof) -> None:
    assert ":(exclude,glob)**/README.md" in pathspecs(proof)
    assert not [path for path in proof.paths if is_under("platform/docs", (path,)) or path == "README.md"]


def test_every_topic_is_checked_by_mypy_and_ruff() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    topics = {name.partition("/")[0] for name in BOTH_FORMS}
    assert not [topic for topic in topics if f"tests/proofs/{topic}/*" not in settings["mypy"]["files"]]
    assert "tests/proofs/*/*" in settings["ruff"]["extend-include"]


def test_every_old_name_has_become_a_proof_that_is_there() -> None:
    assert not [old for old, new in OLD_NAMES.items() if new not in BOTH_FORMS]
    assert len(set(OLD_NAMES.values())) == len(OLD_NAMES)


def test_every_entry_of_the_log_is_of_a_proof_that_is_there() -> None:
    entries = read_entries((PROOFS / "LOG.md").read_text(encoding="utf-8"), OLD_NAMES)
    unknown = {entry.proof for entry in entries} - BOTH_FORMS.keys()
    assert unknown <= REPLACED
    assert all(OLD_NAME.fullmatch(name) for name in unknown)


def is_under(name: str, paths: tuple[str, ...]) -> bool:
    return any(f"{name}/".startswith(f"{path}/") for path in paths)


def behind(file: Path) -> set[Path]:
    """Return the files under tests/ that a file imports or runs as a module, and those behind them."""
    files: set[Path] = set()
    waiting = [file]
    while waiting:
        for name in names_in(waiting.pop()):
            parts = name.split(".")
            for depth in (len(parts), len(parts) - 1):
                module = ROOT.joinpath(*parts[:depth]).with_suffix(".py")
                if parts[0] == "tests" and module.is_file() and module not in files:
                    files.add(module)
                    waiting.append(module)
    return files


def names_in(file: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, and those of test modules in its strings (``python -m``, code)."""
    yield from (name for name, _ in imports_of(file))
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from TEST_MODULE.findall(node.value)
