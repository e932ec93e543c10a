"""Runs the engine's loop body: schedule, run, sample, commit, report. Rank 0 has ``Engine``, the others ``Follower``.

The owner of an engine calls it from one thread. Knows no Ray, no socket and no clock except the step's.
"""

import dataclasses
import logging
import time
from collections.abc import Callable

import msgspec
import torch
from msgspec import Struct

from calmops.decoding.beam import BeamSearch
from calmops.decoding.scheduler import Limits, Scheduler
from calmops.decoding.sequence import Sequence, from_placement
from calmops.decoding.work import Work
from calmops.engine.answer import AnswerBuilder
from calmops.engine.backends.choice import choose_backend, code_path, make_backend
from calmops.engine.backends.protocol import Backend
from calmops.engine.batch_invariance import torch_path
from calmops.engine.draw import Draw
from calmops.engine.sampler import log_probabilities
from calmops.engine.settings import EngineSettings
from calmops.engine.vocabulary import Vocabulary
from calmops.messages.frame import Delta, StepFacts
from calmops.messages.placement import Placement, Summary
from calmops.messages.plan import StepPlan, ToRank

_log = logging.getLogger(__name__)


class StepResult(Struct, frozen=True, kw_only=True):
    """Holds what one step leaves behind: a frame's content for each gateway, and the attempts that are over."""

    step: int
    facts: StepFacts
    deltas: dict[str, tuple[Delta, ...]]  # by gateway id
    summaries: tuple[Summary, ...]


class Engine:
    """Takes placements, steps all ranks and gives deltas; runs on rank 0."""

    def __init__(self, settings: EngineSettings, send_plan: Callable[[StepPlan], None]) -> None:
        """Load this rank's shard. ``send_plan`` hands a plan to the other ranks before rank 0 runs it."""
        settings, reason = choose_backend(settings)
        if reason is not None:
            _log.info("the model steps through transformers' modules, not through the CPU kernel: %s", reason)
        self._begin(settings, make_backend(settings), send_plan)

    def with_bounds(self, *, kv_blocks: int, max_sequences: int, max_rows_per_step: int) -> "Engine":
        """Return an idle engine over the same loaded ranks with tighter bounds; this one must not be stepped again."""
        fresh = object.__new__(Engine)
        bounds = (self._settings.kv_blocks, self._settings.max_rows_per_step)
        assert kv_blocks <= bounds[0] and max_rows_per_step <= bounds[1], f"blocks, rows within those loaded: {bounds}"
        assert max_sequences <= self._settings.max_sequences, f"loaded for {self._settings.max_sequences} sequences"
        fresh._begin(
            dataclasses.replace(
                self._settings, kv_blocks=kv_blocks, max_sequences=max_sequences, max_rows_per_step=max_rows_per_step
            ),
            self._backend,
            self._send_plan,
        )
        return fresh

    def _begin(self, settings: EngineSettings, backend: Backend, send_plan: Callable[[StepPlan], None]) -> None:
        self._settings = settings
        self._backend = backend
        self._send_plan = send_plan
        self._vocabulary = Vocabulary(settings.folder)
        self._scheduler = Scheduler(
            Limits(
                kv_blocks=settings.kv_blocks,
                max_sequences=settings.max_sequences,
                max_rows_per_step=settings.max_rows_per_step,
                max_model_len=self._backend.context_tokens,
                max_waiting=settings.max_waiting,
                prefix_cache=settings.prefix_cache,
            )  # fmt: skip
        )
        self.fingerprint = _fingerprint(settings, self._backend.release.digest)
        self._answers: dict[int, AnswerBuilder] = {}  # by stream token
        self._summaries: list[Summary] = []  # of the attempts that ended since the last step
        self._step = 0

    @classmethod
    def load(cls, settings: EngineSettings, send_plan: Callable[[StepPlan], None]) -> "Engine":
        """Return a loaded engine. Raises ReleaseError or UnsupportedModel."""
        return cls(settings, send_plan)

    def submit(self, placement: Placement) -> None:
        """Queue an attempt's choices. Raises InputError if one can never run, LoadError if too many wait."""
        sequences = from_placement(placement)
        self._scheduler.submit(sequences)
        answer = AnswerBuilder(placement, sequences, self._vocabulary)
        if placement.params.beam_width:
            answer.search = BeamSearch(sequences[0], self._scheduler.limits.max_model_len)
        self._answers[placement.stream_token] = answer
        self._end_if_done(answer)  # a resumed placement may have no choice left to go on with

    def cancel(self, stream_token: int, reason: str) -> None:
        """End the attempt with that stream token and free its blocks now. Does nothing if there is none."""
        self._scheduler.cancel(stream_token)
        answer = self._answers.pop(stream_token, None)
        if answer is not None:
            self._summaries.append(answer.summary(reason))

    def step(self) -> StepResult | None:
        """Run one forward pass over everything that can run; return None if nothing can and nothing ended."""
        started_ns, begun_ns = time.time_ns(), time.monotonic_ns()
        work = self._scheduler.plan()
        if work is None and not self._summaries:
            return None
        deltas: dict[str, list[Delta]] = {}
        if work is not None:
            self._run(work, deltas)
        summaries, self._summaries = tuple(self._summaries), []
        return StepResult(
            step=self._step, facts=self._facts(work, started_ns, time.monotonic_ns() - begun_ns),
            deltas={gateway: tuple(mine) for gateway, mine in deltas.items()}, summaries=summaries,
        )  # fmt: skip

    def _run(self, work: Work, deltas: dict[str, list[Delta]]) -> None:
        self._step = work.plan.step
        self._send_plan(work.plan)
        logits = self._backend.step(work.plan)
        assert logits is not None, "rank 0 has the logits"
        logits = logits[:, : self._vocabulary.size]  # a checkpoint's padding beyond the tokenizer is no token
        drawn = self._backend.sample(logits, [_draw(sequence) for sequence in work.wanted]) if work.wanted else []
        by_sequence = dict(zip(map(id, work.wanted), drawn, strict=True))
        shares = {id(share.sequence): share for share in work.shares}
        beam_answers = self._report_beams(work, logits)
        for emission in self._scheduler.commit(work, [draw.token_id for draw in drawn]):
            sequence = emission.sequence
            answer = self._answers[sequence.stream_token]
            share = shares.pop(id(sequence))
            delta = answer.delta(emission, by_sequence[id(sequence)], share)
            deltas.setdefault(sequence.gateway_id, []).append(delta)
            if delta.finish_reason is not None:
                self._scheduler.finish(sequence, delta.finish_reason)
                self._end_if_done(answer)
        for share in shares.values():
            sequence = share.sequence
            if sequence.finish_reason is None and not sequence.params.beam_width:
                progress = self._answers[sequence.stream_token].progress(share)
                deltas.setdefault(sequence.gateway_id, []).append(progress)
        self._advance_beams(beam_answers, deltas)

    def _report_beams(self, work: Work, logits: torch.Tensor) -> list[AnswerBuilder]:
        """Hand each beam search the candidates of its rows; return the answers whose searches got some."""
        touched: dict[int, AnswerBuilder] = {}
        for row, sequence in enumerate(work.wanted):
            answer = self._answers.get(sequence.stream_token)
            if answer is not None and answer.search is not None and sequence.finish_reason is None:
                best = torch.topk(log_probabilities(logits[row]), min(answer.search.top_k, logits.shape[1]))
                answer.search.report(sequence, list(zip(best.indices.tolist(), best.values.tolist(), strict=True)))
                touched[sequence.stream_token] = answer
        return list(touched.values())

    def _advance_beams(self, answers: list[AnswerBuilder], deltas: dict[str, list[Delta]]) -> None:
        for answer in answers:
            search = answer.search
            assert search is not None, "only beam searches are advanced"
            if search.ready:
                search.advance(self._scheduler)
            if search.done:
                placement = answer.placement
                mine = deltas.setdefault(placement.gateway_id, [])
                mine += answer.beams(search.ranked()[: placement.params.n])
                self._end_if_done(answer)

    def _end_if_done(self, answer: AnswerBuilder) -> None:
        if answer.done:
            del self._answers[answer.placement.stream_token]
            self._summaries.append(answer.summary())

    def _facts(self, work: Work | None, started_ns: int, duration_ns: int) -> StepFacts:
        scheduler = self._scheduler
        return StepFacts(
            started_ns=started_ns, duration_ns=duration_ns, rows=len(work.plan.tokens) if work else 0,
            decode_rows=work.decode_rows if work else 0, prefill_rows=work.prefill_rows if work else 0,
            running=scheduler.running, waiting=scheduler.waiting, kv_blocks_used=scheduler.kv_blocks_used,
            kv_blocks_total=scheduler.kv_blocks_total, preempted=work.preempted if work else 0,
        )  # fmt: skip


class Follower:
    """Takes part in each forward pass and decides nothing; runs on every rank except 0."""

    def __init__(self, settings: EngineSettings, rank: int) -> None:
        self._backend = make_backend(choose_backend(settings)[0], rank)

    @classmethod
    def load(cls, settings: EngineSettings, rank: int) -> "Follower":
        """Return a follower with this rank's shard loaded; the world must be joined."""
        return cls(settings, rank)

    def follow(self, body: bytes) -> bool:
        """Run one encoded plan; return False if it says that no step follows."""
        plan = _decode(body)
        if not isinstance(plan, StepPlan):
            return False
        self._backend.step(plan)
        return True


_decode = msgspec.msgpack.Decoder(ToRank).decode


def _draw(sequence: Sequence) -> Draw:
    return Draw(
        params=sequence.params, choice=sequence.choice, position=len(sequence.output_ids),
        prompt_ids=sequence.prompt_ids, answer_ids=sequence.output_ids,
    )  # fmt: skip


def _fingerprint(settings: EngineSettings, digest: str) -> str:
    """Name all that decides a token's bits beside the prompt: equal fingerprints give equal tokens under ``exact``."""
    numbers = settings.quantize or settings.dtype
    if settings.backend == "kernel":  # whose bits don't depend on the number of threads
        parts: tuple[str, ...] = (digest[:16], "kernel", numbers, f"tp{settings.tp}", "cpu", code_path(), "exact")
    else:
        path = torch_path() if settings.device == "cpu" else torch.cuda.get_device_name()
        # On a GPU an exact step always has the same number of rows, and of rows with logits. On a CPU sums depend on
        # the number of threads.
        rows = f"rows{settings.max_rows_per_step}x{min(settings.max_rows_per_step, settings.max_sequences)}"
        size = rows if settings.device == "cuda" else f"threads{settings.threads}"
        recipe = "exact" if settings.exact else "fast"
        parts = (digest[:16], "transformers", numbers, f"tp{settings.tp}", settings.device, path, size, recipe)
    return "/".join(part.replace("/", "-") for part in parts)
