"""Secrets come from the environment or from the first line of a file, never from a command line or a configuration."""

import os
from pathlib import Path

from calmops.foundation.errors import ConfigError


def secret(variable: str, file: str | None, where: str) -> str | None:
    """Return what the environment variable holds, else the file's first line; None where neither is given.

    ``where`` names the setting that names the file. Raises ConfigError for a file that can't be read or holds nothing.
    """
    given = os.environ.get(variable)
    if given:
        return given
    return None if file is None else first_line(Path(file), where)


def first_line(file: Path, where: str) -> str:
    """Return the secret that a file holds on its first line, without blanks around it.

    ``where`` names the setting or option that names the file. Raises ConfigError for a file that can't be read or holds
    nothing.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise ConfigError(f"{where}: can't read {file}: {why}; write the secret there, mode 600") from error
    if not lines or not lines[0].strip():
        raise ConfigError(f"{where}: {file} is empty; write the secret on its first line")
    return lines[0].strip()
