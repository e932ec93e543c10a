"""Writes a log line per request and, if calmops.yaml asks for it, the request's content. Off the event loop.

One thread writes, in order, so a disk that stalls stops no stream. A line that finds the queue full is dropped and
counted.
"""

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from actors.gateway.capture import Capture, purge
from actors.gateway.live_request import LiveRequest
from calmops.foundation.config_sections import CaptureConfig
from calmops.foundation.json_log import PromptHash, open_log
from calmops.foundation.model_labels import ModelLabels
from calmops.messages.captured import Captured
from calmops.messages.record import NOT_COUNTED, SUCCESSES, Closed
from calmops.messages.request import SamplingParams

MOST_WAITING = 4096  # lines
CLOSE_S = 5.0  # how long lines that still wait at the end may take
_LOGGED = (
    "model", "gateway_id", "outcome", "attempts", "shard", "prompt_tokens",
    "delivered", "discarded", "ledger", "exact_lost", "detail",
)  # fmt: skip


class RequestLog:
    """Takes ended and refused requests from the event loop. A request handed over must not change any more."""

    def __init__(self, gateway_id: str, capture: CaptureConfig, end_ids: Mapping[str, Sequence[int]]) -> None:
        """``end_ids`` holds, by model, the tokens that end its answers."""
        self._gateway_id, self._end_ids = gateway_id, end_ids
        self._log = open_log("requests", gateway_id)
        self._prompt_hash = PromptHash()
        self._capture = Capture(gateway_id, capture.most_bytes, capture.most_days) if capture.enabled else None
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._failures: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
        self._thread.start()
        self._later("", partial(purge, capture.most_bytes, capture.most_days))

    def note_ended(self, live: LiveRequest, closed: Closed) -> None:
        """Write the line of a request that ended, and its content if capture is on."""
        self._later(closed.model, partial(self._ended, live, closed))

    def note_refused(self, request_id: str, model: str, outcome: str) -> None:
        """Write the line of a request that was never accepted."""
        facts = {"request_id": request_id, "model": model, "outcome": outcome, "gateway_id": self._gateway_id}
        self._later(model, partial(self._log.info, "request refused", extra=facts))

    def failures(self) -> Counter[tuple[str, str, str]]:
        """Return how often writing has failed since the last call, by model, event (metric_names.EVENTS) and reason."""
        with self._lock:
            failures, self._failures = self._failures, Counter()
        return failures

    def close(self) -> None:
        """Write the lines that wait, for CLOSE_S at most. Call it off the event loop."""
        try:
            self._waiting.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)

    def _later(self, model: str, write: Callable[[], None]) -> None:
        try:
            self._waiting.put_nowait(write)
        except queue.Full:
            self._failed(model, "log_failures", "queue_full")

    def _write(self) -> None:
        while (write := self._waiting.get()) is not None:
            try:
                write()
            except Exception as error:  # the next line may well be written
                self._failed("", "log_failures", type(error).__name__)

    def _failed(self, model: str, name: str, reason: str) -> None:
        with self._lock:
            self._failures[model, name, reason] += 1

    def _ended(self, live: LiveRequest, closed: Closed) -> None:
        self._line(live, closed)
        if self._capture is not None:
            self._keep(self._capture, live, closed)

    def _line(self, live: LiveRequest, closed: Closed) -> None:
        request, trace = live.intake.request, live.trace
        well = closed.outcome in (*SUCCESSES, *NOT_COUNTED)
        extra = {
            "request_id": request.request_id,
            "trace_id": f"{trace.trace_id:032x}",
            "span_id": f"{trace.span_id:016x}",
            "prompt_as": _given_as(live),
            **{name: getattr(closed, name) for name in _LOGGED},
            **ModelLabels.of(closed.model, closed.labels)._asdict(),
            "moves": [move._asdict() for move in closed.moves],
            "queued_ms": _ms(closed.queued_ns),
            "ttft_ms": _ms(closed.ttft_ns),
            "duration_ms": _ms(closed.duration_ns),
            "prompt_hash": self._prompt_hash.of(request.prompt_ids),
            "marks_hash": self._prompt_hash.of_text(live.journal.digests()),
            "fingerprint": live.journal.fingerprint,
            **_parameters(request.params, frozenset(self._end_ids[request.model])),
        }
        self._log.log(logging.INFO if well else logging.WARNING, "request ended", extra=extra)

    def _keep(self, capture: Capture, live: LiveRequest, closed: Closed) -> None:
        """Capture a request's content. A disk that doesn't take it costs the copy, not the request."""
        request = live.intake.request
        captured = Captured(
            request_id=request.request_id, model=request.model, at_ns=closed.at_ns, outcome=closed.outcome,
            fingerprint=live.journal.fingerprint, params=request.params, prompt_ids=request.prompt_ids,
            answers=live.journal.answers(), cache_salt=request.cache_salt, end_ids=tuple(self._end_ids[request.model]),
        )  # fmt: skip
        try:
            capture.keep(captured)
        except OSError as error:
            self._failed(request.model, "capture_failures", type(error).__name__)
            self._log.warning("content not captured", extra={"request_id": request.request_id, "error": str(error)})


def _ms(span_ns: int | None) -> float | None:
    return None if span_ns is None else round(span_ns / 1e6, 3)


def _given_as(live: LiveRequest) -> str:
    """Return how the prompt came, which is what a replay has to be given: "messages", "text" or "ids"."""
    if live.intake.kind == "chat":
        return "messages"
    return "text" if live.intake.request.prompt_chars else "ids"


def _parameters(params: SamplingParams, end_ids: frozenset[int]) -> dict[str, Any]:
    """Return the parameters for the log; of those that hold a client's text, only their names."""
    tree: dict[str, Any] = msgspec.to_builtins(params)
    written = {"stop": params.stop, "stop_ids": set(params.stop_ids) - end_ids, "logit_bias": params.logit_bias}
    return {
        "params": {name: value for name, value in tree.items() if name not in written},
        "ignore_eos": not end_ids <= set(params.stop_ids),
        "content_parameters": [name for name, value in written.items() if value],
    }
