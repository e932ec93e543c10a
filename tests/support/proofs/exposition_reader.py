"""Read Prometheus' text format, strictly and fast: for expositions of half a million lines."""

import re
from collections.abc import Iterator
from typing import NamedTuple

COMMENT = re.compile(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .*")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\n"])*)"(?:,|$)')
ESCAPE = re.compile(r"\\(.)")


class Sample(NamedTuple):
    """Holds one line of an exposition."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """Yield every sample. ValueError if a line is no sample, or a label or a series comes twice."""
    seen: set[str] = set()
    for line in text.split("\n"):
        if not line or COMMENT.fullmatch(line):
            continue
        match = SAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a sample: {line[:200]!r}")
        series = line[: match.end(1) if match[2] is None else match.end(2)]
        if series in seen:
            raise ValueError(f"shown twice: {series[:200]!r}")
        seen.add(series)
        yield Sample(match[1], labels_of(match[2] or ""), float(match[3]))


def labels_of(text: str) -> dict[str, str]:
    """Return the labels that stand between the braces. ValueError if anything else stands there."""
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = LABEL.match(text, at)
        if match is None or match[1] in labels:
            raise ValueError(f"not labels: {text[:200]!r}")
        value = match[2]
        labels[match[1]] = ESCAPE.sub(unescaped, value) if "\\" in value else value
        at = match.end()
    return labels


def unescaped(escape: re.Match[str]) -> str:
    """Return the character that an escape stands for."""
    return "\n" if escape[1] == "n" else escape[1]
