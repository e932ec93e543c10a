"""Prometheus' text format, read strictly and fast: for expositions of half a million lines."""

import re
from collections.abc import Iterator
from typing import NamedTuple

COMMENT = re.compile(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .*")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\n"])*)"(?:,|$)')
ESCAPE = re.compile(r"\\(.)")


class Sample(NamedTuple):
    """One line."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """Every sample. ValueError for a line that isn't one, a label given twice or a series shown twice."""
    seen: set[str] = set()
    for line in text.split("\n"):
        if not line or COMMENT.fullmatch(line):
            continue
        found = SAMPLE.fullmatch(line)
        if found is None:
            raise ValueError(f"not a sample: {line[:200]!r}")
        series = line[: found.end(1) if found[2] is None else found.end(2)]
        if series in seen:
            raise ValueError(f"shown twice: {series[:200]!r}")
        seen.add(series)
        yield Sample(found[1], labels_of(found[2] or ""), float(found[3]))


def labels_of(text: str) -> dict[str, str]:
    """What stands between the braces. ValueError if it isn't labels, one after another."""
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = LABEL.match(text, at)
        if found is None or found[1] in labels:
            raise ValueError(f"not labels: {text[:200]!r}")
        value = found[2]
        labels[found[1]] = ESCAPE.sub(lambda one: "\n" if one[1] == "n" else one[1], value) if "\\" in value else value
        at = found.end()
    return labels
