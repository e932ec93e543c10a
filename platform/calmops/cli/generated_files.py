"""This module compares generated files, which are committed, with a folder, updates it and reports the changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from calmops.cli.output import print_json


def differing(files: Mapping[str, str], folder: Path, obsolete: Sequence[str] = ()) -> list[str]:
    """Return the names of files that are missing, differ or shouldn't be there.

    ``files`` maps a path within the folder to its text; ``obsolete`` lists files of earlier generations.
    """
    return [name for name, text in files.items() if not _holds(folder / name, text)] + [
        name for name in obsolete if name not in files
    ]


def write(files: Mapping[str, str], folder: Path, obsolete: Sequence[str] = ()) -> list[str]:
    """Bring the folder up to date and return the names of the files that changed. Parameters are those of differing."""
    changed = differing(files, folder, obsolete)
    for name in changed:
        path = folder / name
        if name not in files:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
    return changed


def tell(files: Mapping[str, str], folder: Path, changed: Sequence[str], *, only_check: bool, as_json: bool) -> None:
    """Print what was written or, for a check, what differs; a check that found a difference exits with code 1."""
    if as_json:
        print_json({"folder": str(folder), "files": sorted(files), "changed": list(changed)})
    else:
        for name in changed:
            typer.echo(f"{folder / name}: {'differs' if only_check else 'written'}")
        if not changed:
            typer.echo(f"all {len(files)} files of {folder} are as they should be")
    if only_check and changed:
        raise typer.Exit(1)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
