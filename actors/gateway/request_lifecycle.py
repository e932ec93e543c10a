"""Keeps a request's books from admission to its end: opened once, closed once. Knows no HTTP.

``accept`` admits, records and begins a request; ``close`` ends it; ``refuse`` counts one that was never accepted.
"""

import time
from dataclasses import dataclass

from actors.gateway.attempts import AttemptDriver
from actors.gateway.live_request import LiveRequest
from actors.gateway.request_log import RequestLog
from actors.gateway.roster_client import RosterClient
from calmops.foundation.errors import TokenizationError
from calmops.foundation.model_labels import ModelLabels
from calmops.intake.admission import Admission
from calmops.intake.validate import Intake
from calmops.messages.record import Closed, Opened
from calmops.streams.journal import Journal
from calmops.telemetry.log.publisher import GatewayPublisher
from calmops.tracing.tracer import context_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLifecycle:
    """Keeps the books of one gateway's requests."""

    gateway_id: str
    environment: str
    publisher: GatewayPublisher
    request_log: RequestLog
    admission: Admission
    attempts: AttemptDriver
    roster: RosterClient

    async def accept(self, intake: Intake) -> LiveRequest:
        """Admit, record and begin one request. Raises LoadError or UnavailableError; then nothing has begun."""
        request = intake.request
        self.roster.refuse_disabled(request.model)
        self.admission.enter(request)
        journal = Journal(request, self.gateway_id, time.monotonic_ns(), self.publisher.labels[request.model])
        opened = self._opened(intake)
        if not request.probe:
            journal.ledger_held = await self.publisher.open(opened)
        live = LiveRequest(intake, journal, context_of(opened))
        self.attempts.begin(live)
        return live

    def close(self, live: LiveRequest, *, unsent: int = 0) -> None:
        """Close the request's books, once. ``unsent`` counts released tokens that the HTTP server never got."""
        self.attempts.end(live)
        self.admission.leave(live.intake.request)
        if live.intake.request.probe:
            return
        closed = live.journal.close(
            live.outcome(),
            time.monotonic_ns(),
            time.time_ns(),
            detail=str(live.error) if live.error else None,
            undelivered=unsent,
        )
        self.publisher.publish(closed)
        for _ in range(closed.attempts - 1):
            self.publisher.count(closed.model, "migrations", "replica_lost")
        if closed.exact_lost:
            self.publisher.count(closed.model, "exact_lost", "other_fingerprint")
        self.request_log.note_ended(live, closed)

    def refuse(self, outcome: str, request_id: str, model: str = "unknown") -> None:
        """Count a request that was never accepted; ``outcome`` is "refused_input", "refused_load" or "failed"."""
        labels = self.publisher.labels.get(model, ModelLabels(environment=self.environment))
        self.publisher.publish(
            Closed(
                request_id=request_id, model=model, gateway_id=self.gateway_id, at_ns=time.time_ns(), outcome=outcome,
                attempts=0, prompt_tokens=0, journaled=0, delivered=0, discarded=0, ttft_ns=None, duration_ns=0,
                labels=labels.rest,
            )
        )  # fmt: skip
        self.request_log.note_refused(request_id, model, outcome)

    def refuse_untokenized(self, error: TokenizationError, request_id: str) -> None:
        """Count a request whose text broke the tokenizer."""
        self.publisher.count(error.model, "tokenization_errors", error.stage)
        self.refuse("failed", request_id, error.model)

    def _opened(self, intake: Intake) -> Opened:
        request = intake.request
        return Opened(
            request_id=request.request_id, model=request.model, gateway_id=self.gateway_id, at_ns=time.time_ns(),
            prompt_tokens=len(request.prompt_ids), max_tokens=request.params.max_tokens, choices=request.params.n,
            stream=request.stream, prompt_chars=request.prompt_chars, labels=self.publisher.labels[request.model].rest,
            traceparent=request.traceparent, tracestate=request.tracestate, baggage=request.baggage, kind=intake.kind,
        )  # fmt: skip
