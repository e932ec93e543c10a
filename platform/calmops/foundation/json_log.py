"""Structured logs: one JSON object a line, in the state folder, for Vector, Fluent Bit, Fluentd or jq. Never a prompt.

A prompt is named by a keyed hash: with the key, which stays on this machine, two lines of one prompt can be told to be so;
without it, nobody can try prompts out.
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

MOST_BYTES, KEPT_FILES = 64 << 20, 4  # of one process' log
OLD_BYTES = 512 << 20  # of the logs that earlier processes of a name left: above it the oldest go
KEY_FILE = "prompt-hash.key"
HASH_BYTES = 12
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (RFC 3339, UTC), level, logger, message, and whatever ``extra`` held."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
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
    """The logger ``calmops.<name>``, which also writes to logs/<name>-<process>.jsonl, rotated. Called once a process."""
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
    """Where a process writes."""
    return paths.folder("logs") / f"{name}-{process}.jsonl"


class PromptHash:
    """Names prompts by a hash with a key of this state folder's own."""

    def __init__(self) -> None:
        self._key = _key(paths.folder("state") / KEY_FILE)

    def of(self, prompt_ids: Iterable[int]) -> str:
        """The prompt's name: 24 hex digits."""
        return self._of(b"".join(token.to_bytes(4, "little") for token in prompt_ids))

    def of_text(self, text: str) -> str:
        """Likewise of a text that tells of content."""
        return self._of(text.encode())

    def _of(self, body: bytes) -> str:
        return hashlib.blake2b(body, key=self._key, digest_size=HASH_BYTES).hexdigest()


def _key(path: Path) -> bytes:
    """The key in a file, which is made (0600) by whoever comes first."""
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
