"""Keeps one live stream's truth in its gateway's memory: the journal fences, numbers and counts every token.

A token is journaled when its frame is taken, and delivered when its text has been handed to the HTTP server. Journaled
tokens that aren't delivered when the request ends are discarded: journaled = delivered + discarded, always. Between a
gang's frame and the response; knows no socket and no HTTP.
"""

from zlib import crc32

from msgspec import Struct

from calmops.foundation.errors import GangError
from calmops.foundation.model_labels import NO_LABELS, ModelLabels
from calmops.messages.frame import Delta, TokenLogprobs
from calmops.messages.placement import Placement, ResumedChoice
from calmops.messages.record import Closed, Move
from calmops.messages.request import GenerationRequest


class OutOfStep(GangError):
    """Says that a delta leaves a gap or overlaps: its replica can't be believed, and the stream must migrate."""


class Taken(Struct, frozen=True, kw_only=True):
    """Holds one journaled delta: what is new, and what goes to the client."""

    choice: int
    index: int  # answer index of new_ids[0]
    new_ids: tuple[int, ...]
    text: str
    released: int  # tokens that this delta's text releases, of any index
    logprobs: tuple[TokenLogprobs, ...] | None
    finish_reason: str | None
    event_id: str
    gap_engine_ns: int | None  # since the choice's previous token, engine's clock; None for the first
    gap_gateway_ns: int | None  # the same by the gateway's clock
    prefilled: int
    recomputed: int
    cached: int


class _Choice:
    __slots__ = ("digest", "engine_ns", "event_id", "finish_reason", "gateway_ns", "ids", "released")

    def __init__(self, number: int) -> None:
        self.ids: list[int] = []
        self.released = 0
        self.digest = 0
        self.finish_reason: str | None = None
        self.engine_ns = 0
        self.gateway_ns = 0
        self.event_id = f"{number}:0:00000000"


class Journal:
    """Keeps one request's books from acceptance to its end, over as many attempts as it takes."""

    def __init__(
        self, request: GenerationRequest, gateway_id: str, accepted_ns: int, labels: ModelLabels = NO_LABELS
    ) -> None:
        self.request = request
        self.gateway_id = gateway_id
        self.accepted_ns = accepted_ns
        self._labels = labels
        self._shard = -1
        self._moves: list[Move] = []
        self.attempt = 0
        self.first_step_ns: int | None = None  # when its first step began
        self.first_token_ns: int | None = None
        self.fingerprint: str | None = None  # of the replica that decoded so far
        self.exact_lost = False
        self.ledger_held = True  # False once something makes the token ledger unprovable
        self._stream_token = 0
        self._choices = [_Choice(number) for number in range(request.params.n)]
        self._closed = False

    @property
    def finished(self) -> bool:
        """Whether every choice has ended."""
        return all(choice.finish_reason is not None for choice in self._choices)

    @property
    def stream_token(self) -> int:
        """The current attempt's stream token; 0 before the first."""
        return self._stream_token

    @property
    def journaled(self) -> int:
        """How many tokens of all choices are journaled."""
        return sum(len(choice.ids) for choice in self._choices)

    @property
    def released(self) -> int:
        """How many tokens of all choices have had their text released."""
        return sum(choice.released for choice in self._choices)

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the prompt has."""
        return len(self.request.prompt_ids)

    def answers(self) -> tuple[tuple[int, ...], ...]:
        """Return the token ids of each choice, as journaled."""
        return tuple(tuple(choice.ids) for choice in self._choices)

    def digests(self) -> str:
        """Return the digest of each choice's ids, comma-separated; empty for a choice without ids."""
        return ",".join(f"{choice.digest:08x}" if choice.ids else "" for choice in self._choices)

    def finish_reasons(self) -> tuple[str, ...]:
        """Return the finish reason of each choice that has ended."""
        return tuple(choice.finish_reason for choice in self._choices if choice.finish_reason is not None)

    def place(self, stream_token: int, deadline_wall_ns: int, lost: tuple[str, ...]) -> Placement:
        """Make the next attempt; frames of earlier ones are fenced off from now on. Beam search starts over."""
        assert not self.finished, f"request {self.request.request_id} has ended"
        self.attempt += 1
        self._stream_token = stream_token
        if self.request.params.beam_width and self.attempt > 1:
            self._choices = [_Choice(number) for number in range(self.request.params.n)]
        resumed = tuple(
            ResumedChoice(choice=number, token_ids=tuple(choice.ids), finished=choice.finish_reason is not None)
            for number, choice in enumerate(self._choices)
            if choice.ids or choice.finish_reason is not None
        )
        request = self.request
        return Placement(
            request_id=request.request_id, model=request.model, attempt=self.attempt, gateway_id=self.gateway_id,
            stream_token=stream_token, prompt_ids=request.prompt_ids, params=request.params,
            deadline_ns=deadline_wall_ns, resumed=resumed, lost=lost, fingerprint=self.fingerprint, probe=request.probe,
            salt=request.cache_salt,
        )  # fmt: skip

    def leave(self, replica_id: str | None, wall_ns: int) -> None:
        """Note that the current attempt is given up for another; ``replica_id`` is None if no replica had it yet."""
        self._moves.append(Move(self.attempt, replica_id or "", wall_ns, self.journaled))

    def take(self, delta: Delta, engine_ns: int, now_ns: int) -> Taken | None:
        """Journal one delta; return None if it is fenced off. Raises OutOfStep if its index isn't the next one."""
        if delta.attempt != self.attempt or delta.stream_token != self._stream_token or self._closed:
            return None
        choice = self._choices[delta.choice] if delta.choice < len(self._choices) else None
        if choice is None or choice.finish_reason is not None:
            return None
        if delta.index != len(choice.ids) or not choice.released <= delta.released <= delta.index + len(
            delta.token_ids
        ):
            raise OutOfStep(
                f"request {delta.request_id} choice {delta.choice}: a delta begins at token {delta.index} and releases "
                f"{delta.released}, but {len(choice.ids)} are journaled and {choice.released} released"
            )
        return self._append(choice, delta, engine_ns, now_ns)

    def stepped(self, began_ns: int) -> None:
        """Note when a step with a row of this request began, by the gateway's clock. The first one ended its wait."""
        if self.first_step_ns is None:
            self.first_step_ns = max(began_ns, self.accepted_ns)

    def decoded_by(self, fingerprint: str, shard: int) -> None:
        """Note which replica decodes now. Another fingerprint than before means that exactness is lost."""
        self._shard = shard
        if self.fingerprint is not None and self.fingerprint != fingerprint:
            self.exact_lost = True
        self.fingerprint = fingerprint

    def close(
        self, outcome: str, now_ns: int, wall_ns: int, *, detail: str | None = None, undelivered: int = 0
    ) -> Closed:
        """Return the request's one closing record. ``undelivered`` released tokens never reached the HTTP server."""
        assert not self._closed, f"request {self.request.request_id} was closed before"
        self._closed = True
        journaled, delivered = self.journaled, self.released - undelivered
        assert 0 <= delivered <= journaled, f"delivered {delivered} of {journaled} journaled tokens"
        ttft_ns, queued_ns = (
            None if at_ns is None else at_ns - self.accepted_ns for at_ns in (self.first_token_ns, self.first_step_ns)
        )
        return Closed(
            request_id=self.request.request_id, model=self.request.model, gateway_id=self.gateway_id, at_ns=wall_ns,
            outcome=outcome, attempts=self.attempt, prompt_tokens=self.prompt_tokens, journaled=journaled,
            delivered=delivered, discarded=journaled - delivered, ttft_ns=ttft_ns,
            duration_ns=now_ns - self.accepted_ns, ledger="held" if self.ledger_held else "unknown",
            exact_lost=self.exact_lost, detail=detail, shard=self._shard, labels=self._labels.rest,
            moves=tuple(self._moves), queued_ns=queued_ns,
            longest=max(len(choice.ids) for choice in self._choices),
        )  # fmt: skip

    def _append(self, choice: _Choice, delta: Delta, engine_ns: int, now_ns: int) -> Taken:
        gap_engine_ns = gap_gateway_ns = None
        if delta.token_ids:
            if choice.ids:
                gap_engine_ns = max(0, engine_ns - choice.engine_ns)
                gap_gateway_ns = max(0, now_ns - choice.gateway_ns)
            elif self.first_token_ns is None:
                self.first_token_ns = now_ns
            choice.engine_ns, choice.gateway_ns = engine_ns, now_ns
            choice.ids.extend(delta.token_ids)
            for token_id in delta.token_ids:
                choice.digest = crc32(token_id.to_bytes(4, "little"), choice.digest)
            choice.event_id = f"{delta.choice}:{len(choice.ids)}:{choice.digest:08x}"
        released = delta.released - choice.released
        choice.released = delta.released
        choice.finish_reason = delta.finish_reason
        choices = self._choices
        return Taken(
            choice=delta.choice, index=delta.index, new_ids=delta.token_ids, text=delta.text, released=released,
            logprobs=delta.logprobs, finish_reason=delta.finish_reason,
            event_id=choice.event_id if len(choices) == 1 else ",".join(one.event_id for one in choices),
            gap_engine_ns=gap_engine_ns, gap_gateway_ns=gap_gateway_ns,
            prefilled=delta.prefilled, recomputed=delta.recomputed, cached=delta.cached,
        )  # fmt: skip
