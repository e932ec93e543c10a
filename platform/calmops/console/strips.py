"""Builds the token strip's rows from telemetry records: the timing of each live and recent request's tokens.

The judgement, which reads the log, feeds it; the page shows it. It knows no text. It keeps KEPT_REQUESTS requests and
KEPT_TOKENS tokens of each; of a request with several choices only the first choice.
"""

from collections import deque
from typing import Any

from calmops.messages.record import Closed, FrameRecord, Opened, Record, SequenceStep

KEPT_REQUESTS = 40
KEPT_TOKENS = 400  # the latest of one request; earlier ones are only counted
FORGET_NS = 300 * 10**9  # after this time without a record a live request's last records count as lost


class Strip:
    """Follows one request: its queue and prefill times, and each token's time after the one before."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._started_ns: int | None = None  # when the first step began that fed it
        self._first_token_ns: int | None = None
        self._attempt: int | None = None
        self._tokens = 0
        self._gaps_ms: deque[float | None] = deque(maxlen=KEPT_TOKENS)
        self._rows: deque[int] = deque(maxlen=KEPT_TOKENS)
        self._moves: list[int] = []  # the index of the first token of each later attempt
        self._closed: Closed | None = None
        self._heard_ns = opened.at_ns

    def is_over(self, now_ns: int) -> bool:
        """Return whether the request ended, or no record of it came for FORGET_NS."""
        return self._closed is not None or now_ns - self._heard_ns > FORGET_NS

    def step(self, frame: FrameRecord, share: SequenceStep) -> None:
        """Add what one step did for the request."""
        self._heard_ns = frame.at_ns
        if self._started_ns is None:
            self._started_ns = frame.at_ns - (frame.duration_ns or 0)
        if self._attempt is not None and share.attempt > self._attempt:
            self._moves.append(self._tokens)
        self._attempt = max(share.attempt, self._attempt or 0)
        if share.tokens <= 0:
            return
        if self._first_token_ns is None:
            self._first_token_ns = frame.at_ns
        gap_ns = share.gap_gateway_ns
        self._gaps_ms.append(None if gap_ns is None else round(gap_ns / 1e6, 2))
        self._gaps_ms.extend([0.0] * (share.tokens - 1))  # the others of one step came together
        self._rows.extend([frame.rows] * share.tokens)
        self._tokens += share.tokens

    def close(self, closed: Closed) -> None:
        """Take the record of the request's end."""
        self._closed = closed

    def shown(self, now_ns: int) -> dict[str, Any]:
        """Return the row as the page takes it.

        Times are in ms; ``first`` is the index of the first token in ``gaps_ms`` and ``rows``.
        """
        end_ns = self._closed.at_ns if self._closed else now_ns
        started_ns = end_ns if self._started_ns is None else self._started_ns
        token_ns = end_ns if self._first_token_ns is None else self._first_token_ns
        first = self._tokens - len(self._gaps_ms)
        return {
            "id": self._opened.request_id,
            "model": self._opened.model,
            "state": self._state(),
            "outcome": self._closed.outcome if self._closed else None,
            "opened_s": self._opened.at_ns / 1e9,
            "queue_ms": _ms(started_ns - self._opened.at_ns),
            "prefill_ms": _ms(token_ns - started_ns),
            "first": first,
            "gaps_ms": list(self._gaps_ms),
            "rows": list(self._rows),
            "marks": [{"index": index} for index in self._moves if index >= first],
            "choices": self._opened.choices,
        }

    def _state(self) -> str:
        if self._closed is not None:
            return "ended"
        if self._first_token_ns is not None:
            return "decoding"
        return "queued" if self._started_ns is None else "prefill"


class Strips:
    """Holds the rows that the page shows. Owned by one thread."""

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self._kept = kept
        self._strips: dict[str, Strip] = {}  # in the order in which they were opened
        self._hidden: dict[str, int] = {}  # live requests without a row, and when they were opened

    def see(self, record: Record) -> None:
        """Take one record of the log; the sources may come in any order."""
        if type(record) is FrameRecord:
            for share in record.sequences:
                strip = self._strips.get(share.request_id)
                if strip is not None and share.choice == 0:
                    strip.step(record, share)
        elif type(record) is Opened:
            self._open(record)
        elif type(record) is Closed:
            self._hidden.pop(record.request_id, None)
            if (strip := self._strips.get(record.request_id)) is not None:
                strip.close(record)

    def shown(self, now_ns: int) -> dict[str, Any]:
        """Return the rows, latest first, and how many live requests have none."""
        self._hidden = {name: at_ns for name, at_ns in self._hidden.items() if now_ns - at_ns <= FORGET_NS}
        rows = [strip.shown(now_ns) for strip in reversed(self._strips.values())]
        return {"requests": rows, "hidden": len(self._hidden)}

    def _open(self, opened: Opened) -> None:
        if len(self._strips) >= self._kept:
            oldest_over = next((name for name, strip in self._strips.items() if strip.is_over(opened.at_ns)), None)
            if oldest_over is None:
                self._hidden[opened.request_id] = opened.at_ns
                return
            del self._strips[oldest_over]
        self._strips[opened.request_id] = Strip(opened)


def _ms(duration_ns: int) -> float:
    """Convert ns to ms; at least 0, because the two ends come from the clocks of two processes."""
    return round(max(0, duration_ns) / 1e6, 1)
