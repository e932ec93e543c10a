"""Plain English and lines that fit, kept by a test: what can be forbidden is forbidden."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.unit.test_tidy import ROOT, name_of, test_files_too, tree_of

MAX_COLUMNS = 120
WIDE = (".js", ".css", ".cpp", ".h", ".sh", ".html")  # Python's lines are ruff's matter
SCRIPTS = (".ci/packages", ".ci/run", ".ci/steps", ".ci/timed")
# A variable is named for what it holds. Inside a comprehension `one` may stand for an element: nothing else can be meant.
VAGUE = {"told", "found"}
# Old or foreign to the field; the plain word is on the right.
ODD = {
    "anew": "again", "beneath": "under", "likewise": "say it", "whoever": "a caller that", "whosoever": "a caller that",
    "but for": "except", "nought": "zero", "wherein": "in which", "thereof": "of it", "heeds": "reads",
}  # fmt: skip
ODD_WORD = re.compile(r"\b(" + "|".join(ODD) + r")\b", re.IGNORECASE)
TEXTS = (".py", ".md", ".js", ".css", ".cpp", ".h", ".sh", ".yaml")
# Logs and fixtures keep what was said when they were written.
NOT_READ = ("LOG.md", "tests/data/", "platform/calmops/models/", "tests/unit/test_words.py", "tests/proofs/renamed.md")


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed if name.endswith(suffixes) and (ROOT / name).is_file()]


def bound_names(tree: ast.AST, in_comprehension: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Each name that is bound, its line, and whether that is inside a comprehension or a lambda."""
    inside = in_comprehension or isinstance(
        tree, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda
    )
    if isinstance(tree, ast.Name) and isinstance(tree.ctx, ast.Store):
        yield tree.id, tree.lineno, inside
    elif isinstance(tree, ast.arg):
        yield tree.arg, tree.lineno, inside
    for child in ast.iter_child_nodes(tree):
        yield from bound_names(child, inside)


def test_a_variable_is_named_for_what_it_holds() -> None:
    wrong = [
        f"{name_of(file)}:{line}: {name}"
        for file in test_files_too()
        for name, line, inside in bound_names(tree_of(file))
        if name in VAGUE or (name == "one" and not inside)
    ]
    assert not wrong, "name what it holds: the settings, the matches, the entry"


def test_the_words_are_plain() -> None:
    scripts = [file for file in test_files_too() if not file.suffix]
    files = [file for file in (*tracked(*TEXTS), *scripts) if not any(part in str(file) for part in NOT_READ)]
    wrong = [
        f"{name_of(file)}:{number}: {match[1]} (say: {ODD[match[1].lower()]})"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for match in ODD_WORD.finditer(line)
    ]
    assert not wrong


def test_lines_have_at_most_120_columns() -> None:
    files = [*tracked(*WIDE), *(ROOT / name for name in SCRIPTS)]
    wrong = [
        f"{name_of(file)}:{number}: {len(line)}"
        for file in files
        if not any(part in str(file) for part in NOT_READ)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]
    assert not wrong


def test_the_first_line_of_a_docstring_is_a_sentence() -> None:
    """It ends like one, and doesn't begin with a word that leans on something unsaid."""
    wrong = [
        f"{name_of(file)}:{line}: {first}"
        for file in test_files_too()
        for line, first in first_lines(tree_of(file))
        if not re.search(r"[.:?]$", first)
        or re.match(r"(Of|Likewise|Where|What|Who|Whose|All whose|But|And|Or)\b", first)
    ]
    assert not wrong


def first_lines(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The first line of each docstring that ships, with the line of what it describes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
            text := ast.get_docstring(node)
        ):
            yield node.lineno, text.splitlines()[0]
