"""Turns one request's records into spans: request, and per attempt queue -> prefill -> decode.

An attempt that was lost before its first frame has only its queue.

The records come from the log, so tracing costs the token path nothing, and a trace says the same as the metrics.
Attributes have the names of OpenTelemetry's GenAI conventions where those have one, otherwise calmops.*. It knows no
OTLP, and not whether the trace is kept.
"""

from collections.abc import Iterator

from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import NOT_COUNTED, SUCCESSES, Closed, FrameRecord, Move, Opened, SequenceStep
from calmops.tracing.context import TraceContext
from calmops.tracing.spans import Attribute, Name, Span, SpanEvent

OPERATIONS = {"completion": "text_completion", "chat": "chat"}  # what the conventions call each kind of request
MAX_TIMED_TOKENS = 2048  # per decode span; of further tokens only the number is kept


class Attempt:
    """Sums up what the steps of one attempt did. Times are the engine's wall clock, ns."""

    def __init__(self, number: int, frame: FrameRecord) -> None:
        self.number = number
        self.replica_id, self.shard = frame.replica_id, frame.shard
        self.started_ns = frame.at_ns - (frame.duration_ns or 0)
        self.first_ns: int | None = None  # of its first token
        self.last_ns = frame.at_ns
        self.tokens = self.prefilled = self.cached = self.recomputed = 0
        self.gaps_gateway_ms: list[float] = []
        self.gaps_engine_ms: list[float] = []
        self.rows: list[int] = []

    def step(self, frame: FrameRecord, share: SequenceStep) -> None:
        """Add one step of one of the attempt's sequences."""
        self.last_ns = max(self.last_ns, frame.at_ns)
        self.prefilled += share.prefilled
        self.cached += share.cached
        self.recomputed += share.recomputed
        if share.tokens <= 0:
            return
        if self.first_ns is None:
            self.first_ns = frame.at_ns
        self.tokens += share.tokens
        if len(self.rows) < MAX_TIMED_TOKENS and share.choice == 0:
            self.gaps_gateway_ms.append(_ms(share.gap_gateway_ns))
            self.gaps_engine_ms.append(_ms(share.gap_engine_ns))
            self.rows.append(frame.rows)


class RequestTrace:
    """Gathers a request's records and makes its spans once it has ended."""

    def __init__(self, opened: Opened, context: TraceContext) -> None:
        self._opened = opened
        self._context = context
        self._attempts: dict[int, Attempt] = {}
        self._longest_gap_ns: int | None = None

    @property
    def context(self) -> TraceContext:
        """Return the request's trace context."""
        return self._context

    @property
    def longest_gap_ns(self) -> int | None:
        """Return the longest time between two tokens at the gateway, ns; None before the second token."""
        return self._longest_gap_ns

    def step(self, frame: FrameRecord, share: SequenceStep) -> None:
        """Add one step of one of the request's sequences."""
        if share.gap_gateway_ns is not None:
            self._longest_gap_ns = max(self._longest_gap_ns or 0, share.gap_gateway_ns)
        attempt = self._attempts.get(share.attempt)
        if attempt is None:
            attempt = self._attempts[share.attempt] = Attempt(share.attempt, frame)
        attempt.step(frame, share)

    def spans(self, closed: Closed) -> list[Span]:
        """Make the request's span and those under it, in order."""
        end_ns = self._opened.at_ns + closed.duration_ns
        request = Span(
            trace_id=self._context.trace_id,
            span_id=self._context.span_id,
            parent_id=self._context.parent_id,
            name=Name.REQUEST,
            start_ns=self._opened.at_ns,
            end_ns=end_ns,
            attributes=_request_attributes(self._opened, closed),
            events=tuple(self._migrations(closed.moves)),
            error=None if closed.outcome in (*SUCCESSES, *NOT_COUNTED) else closed.detail or closed.outcome,
            tracestate=self._opened.tracestate,
        )
        waited_since_ns, spans = self._opened.at_ns, [request]
        moves = {move.attempt: move for move in closed.moves}
        for number in range(1, max([closed.attempts, *self._attempts]) + 1):
            attempt, move = self._attempts.get(number), moves.get(number)
            if attempt is None:
                spans.append(_queue_without_frame(number, move, self._context, request, waited_since_ns))
                waited_since_ns = spans[-1].end_ns
            else:
                spans += _attempt_spans(attempt, self._context, request, waited_since_ns)
                waited_since_ns = attempt.last_ns
        return spans

    def _migrations(self, moves: tuple[Move, ...]) -> Iterator[SpanEvent]:
        """Yield one event per migration, with its token; its target is known once the next attempt had a frame."""
        for move in moves:
            attributes: dict[str, Attribute] = {"calmops.from": move.replica_id, "calmops.token.index": move.tokens}
            if move.attempt + 1 in self._attempts:
                attributes["calmops.to"] = self._attempts[move.attempt + 1].replica_id
            yield SpanEvent(name="migration", at_ns=move.at_ns, attributes=attributes)


def _queue_without_frame(
    number: int, move: Move | None, context: TraceContext, request: Span, waited_since_ns: int
) -> Span:
    """Make the queue span of an attempt without a frame; it ends with the move to the next attempt or the request."""
    start_ns = min(max(waited_since_ns, request.start_ns), request.end_ns)
    end_ns = request.end_ns if move is None else min(max(move.at_ns, start_ns), request.end_ns)
    attributes: dict[str, Attribute] = {"calmops.attempt": number}
    if move is not None:
        attributes["calmops.replica_id"] = move.replica_id
    return Span(
        trace_id=request.trace_id,
        span_id=context.child_span_id(f"{Name.QUEUE}/{number}"),
        parent_id=request.span_id,
        name=Name.QUEUE,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=attributes,
        tracestate=request.tracestate,
    )


def _attempt_spans(attempt: Attempt, context: TraceContext, request: Span, waited_since_ns: int) -> Iterator[Span]:
    """Yield an attempt's queue, prefill and decode.

    They are cut to the request's span, because the clocks of two machines may differ.
    """
    first_ns = attempt.last_ns if attempt.first_ns is None else attempt.first_ns
    identity: dict[str, Attribute] = {
        "calmops.attempt": attempt.number,
        "calmops.replica_id": attempt.replica_id,
        "calmops.shard": attempt.shard,
    }
    prefill: dict[str, Attribute] = {
        "calmops.tokens.prefilled": attempt.prefilled,
        "calmops.tokens.cached": attempt.cached,
        "calmops.tokens.recomputed": attempt.recomputed,
    }
    decode: dict[str, Attribute] = {
        "calmops.tokens.generated": attempt.tokens,
        "calmops.tokens.timed": len(attempt.rows),
        "calmops.token.gap_ms": tuple(attempt.gaps_gateway_ms),
        "calmops.token.engine_gap_ms": tuple(attempt.gaps_engine_ms),
        "calmops.token.rows": tuple(attempt.rows),
    }
    for name, start_ns, end_ns, attributes in (
        (Name.QUEUE, waited_since_ns, attempt.started_ns, {}),
        (Name.PREFILL, attempt.started_ns, first_ns, prefill),
        (Name.DECODE, first_ns, attempt.last_ns, decode),
    ):
        if name is Name.DECODE and attempt.first_ns is None:
            return
        within_ns = min(max(start_ns, request.start_ns), request.end_ns)
        yield Span(
            trace_id=request.trace_id,
            span_id=context.child_span_id(f"{name}/{attempt.number}"),
            parent_id=request.span_id,
            name=name,
            start_ns=within_ns,
            end_ns=min(max(end_ns, within_ns), request.end_ns),
            attributes=identity | attributes,
            tracestate=request.tracestate,
        )


def _request_attributes(opened: Opened, closed: Closed) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {
        "gen_ai.provider.name": "calmops",
        "gen_ai.request.model": opened.model,
        "gen_ai.request.max_tokens": opened.max_tokens,
        "gen_ai.request.choice.count": opened.choices,
        "gen_ai.usage.input_tokens": closed.prompt_tokens,
        "gen_ai.usage.output_tokens": closed.delivered,
        "calmops.request_id": opened.request_id,
        "calmops.gateway_id": opened.gateway_id,
        "calmops.outcome": closed.outcome,
        "calmops.attempts": closed.attempts,
        "calmops.tokens.journaled": closed.journaled,
        "calmops.tokens.discarded": closed.discarded,
        "calmops.ledger": closed.ledger,
        "calmops.exact_lost": closed.exact_lost,
        "calmops.stream": opened.stream,
    }
    if opened.kind:
        attributes["gen_ai.operation.name"] = OPERATIONS.get(opened.kind, opened.kind)
    if closed.ttft_ns is not None:
        attributes["calmops.ttft_ms"] = _ms(closed.ttft_ns)
    labels = {
        f"calmops.{name}": value
        for name, value in ModelLabels.of(opened.model, opened.labels)._asdict().items()
        if value and name != "model"
    }
    return attributes | labels | {f"baggage.{key}": value for key, value in opened.baggage.items()}


def _ms(duration_ns: int | None) -> float:
    """Convert ns to ms; 0 where there is no token before."""
    return 0.0 if duration_ns is None else round(duration_ns / 1e6, 3)
