"""One request's records to its spans: request -> queue -> prefill -> decode, the latter three once an attempt.

An attempt that was lost before it had a frame has its queue alone.

Read off the log, so that tracing costs the token path nothing and a trace can't say other than what was metered.
Names of attributes: OpenTelemetry's GenAI conventions where they have one, else calmops.*.
"""

from collections.abc import Iterator

from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import NOT_COUNTED, SUCCESSES, Closed, FrameRecord, Move, Opened, SequenceStep
from calmops.tracing.context import TraceContext
from calmops.tracing.spans import Attribute, Name, Span, SpanEvent

OPERATIONS = {"completion": "text_completion", "chat": "chat"}  # what the conventions call each kind of request
MOST_TOKENS = 2048  # whose timing one decode span holds; further ones are counted


class Attempt:
    """One placement of the request on a replica: what its steps did. Times are the engine's wall clock, ns."""

    def __init__(self, number: int, frame: FrameRecord) -> None:
        self.number = number
        self.replica_id, self.shard = frame.replica_id, frame.shard
        self.started_ns = frame.at_ns - (frame.duration_ns or 0)
        self.first_ns: int | None = None  # its first token
        self.last_ns = frame.at_ns
        self.tokens = self.prefilled = self.cached = self.recomputed = 0
        self.gaps_gateway_ms: list[float] = []
        self.gaps_engine_ms: list[float] = []
        self.rows: list[int] = []

    def step(self, frame: FrameRecord, share: SequenceStep) -> None:
        """One step of one of its sequences."""
        self.last_ns = max(self.last_ns, frame.at_ns)
        self.prefilled += share.prefilled
        self.cached += share.cached
        self.recomputed += share.recomputed
        if share.tokens <= 0:
            return
        if self.first_ns is None:
            self.first_ns = frame.at_ns
        self.tokens += share.tokens
        if len(self.rows) < MOST_TOKENS and share.choice == 0:
            self.gaps_gateway_ms.append(_ms(share.gap_gateway_ns))
            self.gaps_engine_ms.append(_ms(share.gap_engine_ns))
            self.rows.append(frame.rows)


class RequestTrace:
    """Grows with a request's records; gives its spans when it ended."""

    def __init__(self, opened: Opened, context: TraceContext) -> None:
        self._opened = opened
        self._context = context
        self._attempts: dict[int, Attempt] = {}
        self._longest_gap_ns: int | None = None

    @property
    def context(self) -> TraceContext:
        """The trace it belongs to."""
        return self._context

    @property
    def longest_gap_ns(self) -> int | None:
        """The longest time between two tokens at the gateway; None where there were no two."""
        return self._longest_gap_ns

    def step(self, frame: FrameRecord, share: SequenceStep) -> None:
        """One step of one of its sequences."""
        if share.gap_gateway_ns is not None:
            self._longest_gap_ns = max(self._longest_gap_ns or 0, share.gap_gateway_ns)
        attempt = self._attempts.get(share.attempt)
        if attempt is None:
            attempt = self._attempts[share.attempt] = Attempt(share.attempt, frame)
        attempt.step(frame, share)

    def spans(self, closed: Closed) -> list[Span]:
        """The request's span and those beneath it, in order."""
        end_ns = self._opened.at_ns + closed.duration_ns
        request = Span(
            trace_id=self._context.trace_id, span_id=self._context.span_id, parent_id=self._context.parent_id, name=Name.REQUEST,
            start_ns=self._opened.at_ns, end_ns=end_ns, attributes=_request(self._opened, closed), events=tuple(self._migrations(closed.moves)),
            error=None if closed.outcome in (*SUCCESSES, *NOT_COUNTED) else closed.detail or closed.outcome, tracestate=self._opened.tracestate,
        )  # fmt: skip
        waited_since_ns, found = self._opened.at_ns, [request]
        moves = {move.attempt: move for move in closed.moves}
        for number in range(1, max([closed.attempts, *self._attempts]) + 1):
            attempt, move = self._attempts.get(number), moves.get(number)
            if attempt is None:
                found.append(_unserved(number, move, self._context, request, waited_since_ns))
                waited_since_ns = found[-1].end_ns
            else:
                found += _stretches(attempt, self._context, request, waited_since_ns)
                waited_since_ns = attempt.last_ns
        return found

    def _migrations(self, moves: tuple[Move, ...]) -> Iterator[SpanEvent]:
        """Each with the token that it went on with; where to is known once the next attempt had a frame."""
        for move in moves:
            attributes: dict[str, Attribute] = {"calmops.from": move.replica_id, "calmops.token.index": move.tokens}
            if move.attempt + 1 in self._attempts:
                attributes["calmops.to"] = self._attempts[move.attempt + 1].replica_id
            yield SpanEvent(name="migration", at_ns=move.at_ns, attributes=attributes)


def _unserved(number: int, move: Move | None, context: TraceContext, request: Span, waited_since_ns: int) -> Span:
    """The queue of an attempt without a frame: until it was left for the next, or the request ended."""
    start_ns = min(max(waited_since_ns, request.start_ns), request.end_ns)
    end_ns = request.end_ns if move is None else min(max(move.at_ns, start_ns), request.end_ns)
    whose: dict[str, Attribute] = {"calmops.attempt": number}
    if move is not None:
        whose["calmops.replica_id"] = move.replica_id
    return Span(
        trace_id=request.trace_id, span_id=context.beneath(f"{Name.QUEUE}/{number}"), parent_id=request.span_id,
        name=Name.QUEUE, start_ns=start_ns, end_ns=end_ns, attributes=whose, tracestate=request.tracestate,
    )  # fmt: skip


def _stretches(attempt: Attempt, context: TraceContext, request: Span, waited_since_ns: int) -> Iterator[Span]:
    """An attempt's queue, prefill and decode, within the request: clocks of two machines may differ."""
    first_ns = attempt.last_ns if attempt.first_ns is None else attempt.first_ns
    whose: dict[str, Attribute] = {
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
        "calmops.tokens.generated": attempt.tokens, "calmops.tokens.timed": len(attempt.rows),
        "calmops.token.gap_ms": tuple(attempt.gaps_gateway_ms), "calmops.token.engine_gap_ms": tuple(attempt.gaps_engine_ms),
        "calmops.token.rows": tuple(attempt.rows),
    }  # fmt: skip
    for name, start_ns, end_ns, attributes in (
        (Name.QUEUE, waited_since_ns, attempt.started_ns, {}), (Name.PREFILL, attempt.started_ns, first_ns, prefill),
        (Name.DECODE, first_ns, attempt.last_ns, decode),
    ):  # fmt: skip
        if name is Name.DECODE and attempt.first_ns is None:
            return
        within_ns = min(max(start_ns, request.start_ns), request.end_ns)
        yield Span(
            trace_id=request.trace_id, span_id=context.beneath(f"{name}/{attempt.number}"), parent_id=request.span_id,
            name=name, start_ns=within_ns, end_ns=min(max(end_ns, within_ns), request.end_ns), attributes=whose | attributes,
            tracestate=request.tracestate,
        )  # fmt: skip


def _request(opened: Opened, closed: Closed) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "gen_ai.provider.name": "calmops", "gen_ai.request.model": opened.model, "gen_ai.request.max_tokens": opened.max_tokens,
        "gen_ai.request.choice.count": opened.choices, "gen_ai.usage.input_tokens": closed.prompt_tokens,
        "gen_ai.usage.output_tokens": closed.delivered, "calmops.request_id": opened.request_id, "calmops.gateway_id": opened.gateway_id,
        "calmops.outcome": closed.outcome, "calmops.attempts": closed.attempts, "calmops.tokens.journaled": closed.journaled,
        "calmops.tokens.discarded": closed.discarded, "calmops.ledger": closed.ledger, "calmops.exact_lost": closed.exact_lost,
        "calmops.stream": opened.stream,
    }  # fmt: skip
    if opened.kind:
        found["gen_ai.operation.name"] = OPERATIONS.get(opened.kind, opened.kind)
    if closed.ttft_ns is not None:
        found["calmops.ttft_ms"] = _ms(closed.ttft_ns)
    labels = {
        f"calmops.{name}": value
        for name, value in ModelLabels.of(opened.model, opened.labels)._asdict().items()
        if value and name != "model"
    }
    return found | labels | {f"baggage.{key}": value for key, value in opened.baggage.items()}


def _ms(duration_ns: int | None) -> float:
    """0 where there is none before."""
    return 0.0 if duration_ns is None else round(duration_ns / 1e6, 3)
