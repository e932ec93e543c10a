"""`calmops pin` writes release.json, by which gateway and replica know that weights and tokenizer belong together."""

from pathlib import Path

import typer

from calmops.cli.output import AS_JSON, print_json
from calmops.foundation.errors import ReleaseError
from calmops.foundation.release import RELEASE_FILE, write_release

FOLDER = typer.Argument(help="Checkpoint folder: config.json, *.safetensors and tokenizer.json.")
NAME = typer.Option(None, "--name", help="Name of the release. Default: the folder's.")
NEEDED = ("config.json", "*.safetensors", "tokenizer.json")  # without these a folder can't be served


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def pin(folder: Path = FOLDER, name: str | None = NAME, as_json: bool = AS_JSON) -> None:
        """Pin a checkpoint's files by their SHA-256, so that it can be served.

        Writes release.json beside them. Pin again whenever you change a file on purpose.
        """
        missing = [pattern for pattern in NEEDED if not any(folder.glob(pattern))]
        if folder.is_dir() and missing:
            raise ReleaseError(f"{folder} lacks {', '.join(missing)}: nothing was pinned")
        release = write_release(folder, name)
        if as_json:
            print_json({"name": release.name, "digest": release.digest, "files": release.files})
        else:
            typer.echo(f"{folder / RELEASE_FILE}: pins {len(release.files)} files of {release.name}")
