"""Structured logs lie in the state folder, one JSON object per line, for Vector, Fluent Bit, Fluentd or jq.

They never hold a prompt. A keyed hash names it: with the key, which stays on this machine, one can see that two lines
are about the same prompt; without the key, nobody can try prompts out.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from calmops.foundation import paths, retention

MOST_BYTES, KEPT_FILES = 64 << 20, 4  # for the log of one process
OLD_BYTES = 512 << 20  # for the logs that earlier processes of a name left; above it the oldest are deleted
KEY_FILE = "prompt-hash.key"
HASH_BYTES = 12
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time (RFC 3339, UTC), level, logger, message, and what ``extra`` held."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, without a line end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD and name[0] != "_"}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def open_log(name: str, process: str) -> logging.Logger:
    """Open the logger ``calmops.<name>`` on logs/<name>-<process>.jsonl, rotated. Call this once per process."""
    retention.claim(process)
    retention.forget(
        paths.folder("logs").glob(f"{name}-*.jsonl*"),
        lambda file: file.name.partition(".")[0].removeprefix(f"{name}-"),
        OLD_BYTES,
    )
    logger = logging.getLogger(f"calmops.{name}")
    handler = RotatingFileHandler(
        log_file(name, process), maxBytes=MOST_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True
    )
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def log_file(name: str, process: str) -> Path:
    """Return the file that a process writes its log to."""
    return paths.folder("logs") / f"{name}-{process}.jsonl"


class PromptHash:
    """Names prompts by a hash, with a key that belongs to this state folder alone."""

    def __init__(self) -> None:
        self._key = _key(paths.folder("state") / KEY_FILE)

    def of(self, prompt_ids: Iterable[int]) -> str:
        """Return the prompt's name: 24 hex digits."""
        return self._digest(b"".join(token.to_bytes(4, "little") for token in prompt_ids))

    def of_text(self, text: str) -> str:
        """Return the same kind of name for a text that would give content away."""
        return self._digest(text.encode())

    def _digest(self, body: bytes) -> str:
        return hashlib.blake2b(body, key=self._key, digest_size=HASH_BYTES).hexdigest()


def _key(path: Path) -> bytes:
    """Return the key in a file; the first process that needs it makes the file (mode 0600)."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_bytes(32))
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another process was quicker; its key counts
        finally:
            fresh.unlink()
    return path.read_bytes()
