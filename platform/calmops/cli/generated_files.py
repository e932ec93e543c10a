"""Files that are generated and committed: compared with what is there, brought up to date, and told about."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from calmops.cli.output import print_json


def differing(files: Mapping[str, str], folder: Path, no_more: Sequence[str] = ()) -> list[str]:
    """Those of ``files`` (path within the folder to text) that aren't there as they should be, and ``no_more``, which shouldn't be."""
    return [name for name, text in files.items() if not _says(folder / name, text)] + [
        name for name in no_more if name not in files
    ]


def write(files: Mapping[str, str], folder: Path, no_more: Sequence[str] = ()) -> list[str]:
    """Bring the folder up to date; what changed."""
    changed = differing(files, folder, no_more)
    for name in changed:
        path = folder / name
        if name not in files:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
    return changed


def tell(files: Mapping[str, str], folder: Path, changed: Sequence[str], *, only_check: bool, as_json: bool) -> None:
    """Say what changed, or what differs; a check that found something ends with 1."""
    if as_json:
        print_json({"folder": str(folder), "files": sorted(files), "changed": list(changed)})
    else:
        for name in changed:
            typer.echo(f"{folder / name}: {'differs' if only_check else 'written'}")
        if not changed:
            typer.echo(f"all {len(files)} files of {folder} are as they should be")
    if only_check and changed:
        raise typer.Exit(1)


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
