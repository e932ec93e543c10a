"""Provides OpenSLO documents for tests, to be changed and written."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "alerts" / "objectives"
WINDOWS = ROOT / "alerts" / "windows.yaml"


def document(name: str = "token-latency-p99") -> dict[str, Any]:
    """Return a copy of a shipped document, to be changed."""
    tree: dict[str, Any] = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))
    return tree


def change(tree: dict[str, Any], where: str, value: Any) -> None:
    """Set the field at ``where``, as in ``spec/objectives/0/target``, to a value, or remove it if the value is None."""
    *folders, last = where.split("/")
    inner: Any = tree
    for key in folders:
        inner = inner[int(key) if key.isdigit() else key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value


def write(folder: Path, tree: Any, name: str = "one.yaml") -> Path:
    """Write the document as a file and return its path."""
    path = folder / name
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path
