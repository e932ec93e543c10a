"""Chat samples are made from code: a documented function becomes a request and its answer.

Without them the chat template's tokens would be noise to a model that has read only files. Pure: source text in, turns
out.
"""

import ast
import textwrap
from collections.abc import Iterable, Iterator

from calmops.training.data.corpus import Document
from calmops.training.data.tokenizer import Turn

MAX_ANSWER_CHARS = 1_200
MAX_REQUEST_CHARS = 400

Conversation = tuple[Turn, ...]


def conversations(documents: Iterable[Document]) -> Iterator[Conversation]:
    """Yield one conversation per short documented function, in file order; files that don't parse give none."""
    for document in documents:
        if not document.path.endswith(".py"):
            continue
        try:
            tree = ast.parse(document.text)
        except SyntaxError:
            continue
        lines = document.text.split("\n")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                conversation = _conversation(node, lines)
                if conversation:
                    yield conversation


def _conversation(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> Conversation | None:
    doc = ast.get_docstring(node)
    if not doc or len(node.body) < 2 or node.body[0].lineno == node.lineno:
        return None
    summary = doc.split("\n\n")[0].strip()
    signature = _source(lines, node.lineno, node.body[0].lineno - 1)
    end = node.end_lineno
    assert end is not None, "a parsed node knows where it ends"
    body = _source(lines, _after_docstring(node), end)
    answer = signature + "\n" + textwrap.indent(body, "    ")
    if len(answer) > MAX_ANSWER_CHARS or len(signature) + len(summary) > MAX_REQUEST_CHARS:
        return None
    # The parity of the name's length picks the wording, so that both occur and nothing is drawn at random.
    if len(node.name) % 2:
        request = signature + "\n" + textwrap.indent(f'"""{summary}"""', "    ")
    else:
        request = f"Write a Python function named {node.name}. {summary}"
    return Turn("user", request), Turn("assistant", answer.rstrip())


def _after_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    end = node.body[0].end_lineno
    assert end is not None, "a parsed docstring knows where it ends"
    return end + 1


def _source(lines: list[str], first: int, last: int) -> str:
    """Return lines ``first`` to ``last`` (from 1, both included), without their common indentation."""
    return textwrap.dedent("\n".join(lines[first - 1 : last])).strip("\n")
