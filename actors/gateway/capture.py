"""Captures content, off unless calmops.yaml turns it on: prompts and answers as token ids, in a private folder.

Each captured request is noted in the audit log.
"""

import os
import time

import msgspec

from calmops.foundation import paths, retention
from calmops.foundation.json_log import open_log
from calmops.messages.captured import Captured

FOLDER = "captured"
DAY_S = 86_400
PURGE_S = 3600.0
_encode = msgspec.json.Encoder().encode


def purge(most_bytes: int, most_days: int) -> None:
    """Delete files of gateways that have ended: all older than ``most_days``, the oldest beyond ``most_bytes``."""
    folder = paths.folder(FOLDER)
    retention.forget(folder.glob("*.jsonl"), lambda file: file.name.partition(".")[0], most_bytes, most_days * DAY_S)


class Capture:
    """Writes one gateway's file of captured requests.

    Beyond ``most_bytes`` the older half is deleted; so is everything that is older than ``most_days``.
    """

    def __init__(self, gateway_id: str, most_bytes: int, most_days: int) -> None:
        self._path = paths.folder(FOLDER) / f"{gateway_id}.jsonl"
        self._most_bytes, self._most_days = most_bytes, most_days
        self._audit = open_log("audit", gateway_id)
        self._began_s = time.time()
        self._purged_s = float("-inf")

    def keep(self, captured: Captured) -> None:
        """Write one line, and one to the audit log.

        Raises OSError if the disk doesn't take the line whole; then none of it is left.
        """
        self._purge()
        line = _encode(captured) + b"\n"
        if self._path.exists() and self._path.stat().st_size + len(line) > self._most_bytes // 2:
            self._turn()
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                written = file.write(line)
            finally:
                if file.tell() != size + len(line):
                    file.truncate(size)
        if written != len(line):
            raise OSError(f"{written} of {len(line)} bytes were taken")
        self._audit.info(
            "content captured", extra={"request_id": captured.request_id, "model": captured.model, "bytes": len(line)}
        )

    def _purge(self) -> None:
        """Delete what is too old, once an hour. Files go whole, so this gateway's own turns over at half the age."""
        now_s = time.monotonic()
        if now_s - self._purged_s < PURGE_S:
            return
        self._purged_s = now_s
        purge(self._most_bytes, self._most_days)
        if time.time() - self._began_s > self._most_days * DAY_S / 2 and self._path.exists():
            self._turn()

    def _turn(self) -> None:
        self._path.replace(self._path.with_suffix(".1.jsonl"))
        self._began_s = time.time()
