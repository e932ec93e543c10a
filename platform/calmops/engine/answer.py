"""One placement's way through the engine: its detokenizers, its deltas and how its choices ended."""

from calmops.decoding.beam import BeamSearch, Hypothesis
from calmops.decoding.sequence import Sequence
from calmops.decoding.work import Emission, Share
from calmops.engine.detokenizer import Detokenizer
from calmops.engine.sampler import Drawn
from calmops.engine.vocabulary import Vocabulary
from calmops.messages.frame import Delta, TokenLogprobs
from calmops.messages.placement import Placement, Summary


class AnswerBuilder:
    """What the engine keeps of one attempt until every choice has ended."""

    def __init__(self, placement: Placement, sequences: list[Sequence], vocabulary: Vocabulary) -> None:
        self.placement = placement
        self.sequences = sequences
        self.search: BeamSearch | None = None
        self._vocabulary = vocabulary
        stops = placement.params.stop
        self._text = {one.choice: Detokenizer(vocabulary, stops, one.output_ids) for one in sequences}
        resumed = () if placement.params.beam_width else placement.resumed
        self._ended = {choice.choice for choice in resumed if choice.finished}

    @property
    def done(self) -> bool:
        """Every choice has ended."""
        return len(self._ended) == self.placement.params.n

    def delta(self, emission: Emission, drawn: Drawn, share: Share | None) -> Delta:
        """One new token of one choice. A completed stop string ends it with reason "stop"."""
        text = self._text[emission.sequence.choice]
        released, match = text.feed(emission.token_id)
        reason = "stop" if match is not None else emission.finish_reason
        if reason is not None and match is None:
            tail, match = text.finish()
            released += tail
        if reason is not None:
            self._ended.add(emission.sequence.choice)
        return self._delta(
            choice=emission.sequence.choice, index=emission.index, token_ids=(emission.token_id,), text=released,
            released=text.released, logprobs=_logprobs(drawn, emission.token_id, self._vocabulary),
            finish_reason=reason, stop_match=match, **_computed(share),
        )  # fmt: skip

    def progress(self, share: Share) -> Delta:
        """No new token yet: a prefill chunk of one choice."""
        sequence = share.sequence
        return self._delta(
            choice=sequence.choice, index=len(sequence.output_ids), token_ids=(), text="",
            released=self._text[sequence.choice].released, **_computed(share),
        )  # fmt: skip

    def beams(self, best: list[Hypothesis]) -> list[Delta]:
        """The answers of a finished beam search, each in one delta."""
        deltas = []
        for choice in range(self.placement.params.n):
            hypothesis = best[min(choice, len(best) - 1)]
            text = Detokenizer(self._vocabulary, self.placement.params.stop)
            pieces, match = [], None
            for token_id in hypothesis.token_ids:
                piece, match = text.feed(token_id)
                pieces.append(piece)
                if match is not None:
                    break
            if match is None:
                tail, match = text.finish()
                pieces.append(tail)
            reason = "stop" if match is not None else hypothesis.finish_reason
            self._ended.add(choice)
            logprobs = None
            if self.placement.params.logprobs is not None:
                pairs = zip(hypothesis.token_ids, hypothesis.logprobs, strict=True)
                logprobs = tuple(TokenLogprobs(i, value, self._vocabulary.bytes_of(i)) for i, value in pairs)
            deltas.append(
                self._delta(
                    choice=choice,
                    index=0,
                    token_ids=hypothesis.token_ids,
                    text="".join(pieces),
                    released=text.released,
                    logprobs=logprobs,
                    finish_reason=reason,
                    stop_match=match,
                )  # fmt: skip
            )
        return deltas

    def summary(self, error: str | None = None) -> Summary:
        """Return how the attempt ended."""
        return Summary(stream_token=self.placement.stream_token, error=error)

    def _delta(self, **fields: object) -> Delta:
        placement = self.placement
        return Delta(
            request_id=placement.request_id, stream_token=placement.stream_token, attempt=placement.attempt,
            **fields,  # type: ignore[arg-type]
        )  # fmt: skip


def _computed(share: Share | None) -> dict[str, int]:
    if share is None:
        return {}
    return {"prefilled": share.prefilled, "recomputed": share.recomputed, "cached": share.cached}


def _logprobs(drawn: Drawn, token_id: int, vocabulary: Vocabulary) -> tuple[TokenLogprobs, ...] | None:
    if drawn.logprob is None:
        return None
    top = tuple((other, value, vocabulary.bytes_of(other)) for other, value in drawn.top)
    return (TokenLogprobs(token_id, drawn.logprob, vocabulary.bytes_of(token_id), top),)
