"""The tree that foundation/errors.py draws is the tree of errors that the code has."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from calmops.foundation import errors

ROOT = Path(__file__).resolve().parents[2]
# Each folder that ships, and the folder in which its modules' dotted names begin.
SHIPPED = {"platform/calmops": "platform", "actors": ".", "alerts": ".", "dashboards": "."}
HERE = errors.__name__
LINE = re.compile(r"^((?:│   |    )*)(?:[├└]── )?(\w+) {2,}.*?(?:\[([\w.]+)\])?$")


class ErrorClass(NamedTuple):
    """The module that defines a class, its parent, and what it states itself."""

    module: str
    parent: str
    statement: tuple[str, ...]  # such as "HTTP 404"


def class_nodes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class that ships, after its module's dotted name."""
    for folder, root in SHIPPED.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT / root).with_suffix("").parts)
            nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            yield from ((module, node) for node in nodes if isinstance(node, ast.ClassDef))


@cache
def defined() -> dict[str, ErrorClass]:
    """CalmopsError and all its subclasses by name, wherever they are defined."""
    parents = {
        node.name: (module, node, ast.unparse(base).rpartition(".")[2])
        for module, node in class_nodes()
        for base in node.bases
    }
    tree = {"CalmopsError"}
    while more := {name for name, (_, _, parent) in parents.items() if parent in tree} - tree:
        tree |= more
    return {
        name: ErrorClass(module, parent, statement(node))
        for name, (module, node, parent) in parents.items()
        if name in tree
    }


def statement(node: ast.ClassDef) -> tuple[str, ...]:
    """The status and the exit code that a class sets itself, as the drawing writes them."""
    values = {
        target.id: entry.value.value
        for entry in node.body
        if isinstance(entry, ast.Assign)
        and isinstance(entry.value, ast.Constant)
        and isinstance(entry.value.value, int)
        for target in entry.targets
        if isinstance(target, ast.Name)
    }
    words = {"status": "HTTP", "exit_code": "exit code"}
    return tuple(f"{word} {values[name]}" for name, word in words.items() if name in values)


def drawn() -> dict[str, ErrorClass]:
    """Every line of the drawing: its depth gives the parent."""
    drawing = (errors.__doc__ or "").split("\n\n")[-1]
    tree: dict[str, ErrorClass] = {}
    parents = ["Exception"]
    for line in drawing.strip().splitlines():
        match = LINE.match(line)
        assert match is not None, f"not a line of a tree: {line!r}"
        depth = 0 if line.startswith(match[2]) else len(match[1]) // 4 + 1
        parents[depth + 1 :] = [match[2]]
        assert match[2] not in tree, f"{match[2]} is drawn twice"
        numbers = tuple(re.findall(r"HTTP \d+|exit code \d+", line))
        tree[match[2]] = ErrorClass(match[3] or HERE, parents[depth], numbers)
    return tree


def test_the_drawing_lacks_no_error_and_has_none_too_many() -> None:
    assert drawn().keys() == defined().keys()


def test_the_drawing_shows_each_errors_module_parent_status_and_exit_code() -> None:
    assert drawn() == defined()


def test_no_two_errors_have_one_name() -> None:
    names = [node.name for _, node in class_nodes() if node.name in defined()]
    assert sorted(names) == sorted(set(names))
