"""Content capture: off unless calmops.yaml turns it on. Prompts and answers as token ids, in a private folder, each noted."""

import os
from pathlib import Path

import msgspec

from calmops.foundation import paths
from calmops.foundation.json_log import forget_oldest, open_log
from calmops.messages.captured import Captured

FOLDER = "captured"
_encode = msgspec.json.Encoder().encode


class Capture:
    """One gateway's file of captured requests; beyond ``most_bytes`` the older half is let go.

    What earlier gateways left is let go beyond as much again, the oldest first.
    """

    def __init__(self, gateway_id: str, most_bytes: int) -> None:
        forget_oldest(paths.folder(FOLDER).glob("*.jsonl"), most_bytes)
        self._path = paths.folder(FOLDER) / f"{gateway_id}.jsonl"
        self._most_bytes = most_bytes // 2
        self._audit = open_log("audit", gateway_id)

    def keep(self, captured: Captured) -> None:
        """One line more, and one in the audit log."""
        line = _encode(captured) + b"\n"
        if self._path.exists() and self._path.stat().st_size + len(line) > self._most_bytes:
            self._path.replace(self._older)
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.write(line)
        self._audit.info("content captured", extra={"request_id": captured.request_id, "model": captured.model, "bytes": len(line)})

    @property
    def _older(self) -> Path:
        return self._path.with_suffix(".1.jsonl")
