"""Builds the answer of one placement in the engine: its texts, its deltas and how its choices ended.

Stands between the sampler's tokens and the frame that goes to the gateway. Knows no logits and no other placement.
"""

from calmops.decoding.beam import BeamSearch, Hypothesis
from calmops.decoding.sequence import Sequence
from calmops.decoding.work import Emission, Share
from calmops.engine.detokenizer import Detokenizer
from calmops.engine.draw import Drawn
from calmops.engine.vocabulary import Vocabulary
from calmops.messages.frame import Delta, TokenLogprobs
from calmops.messages.placement import Placement, Summary


class AnswerBuilder:
    """Collects what one attempt has answered, until each of its choices has ended."""

    def __init__(self, placement: Placement, sequences: list[Sequence], vocabulary: Vocabulary) -> None:
        self.placement = placement
        self.sequences = sequences
        self.search: BeamSearch | None = None
        self._vocabulary = vocabulary
        stops = placement.params.stop
        self._text = {sequence.choice: Detokenizer(vocabulary, stops, sequence.output_ids) for sequence in sequences}
        resumed = () if placement.params.beam_width else placement.resumed
        self._ended = {choice.choice for choice in resumed if choice.finished}

    @property
    def done(self) -> bool:
        """Say whether every choice has ended."""
        return len(self._ended) == self.placement.params.n

    def delta(self, emission: Emission, drawn: Drawn, share: Share | None) -> Delta:
        """Return the delta of one choice's new token. A completed stop string ends the choice with reason "stop"."""
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
        """Return the delta of a prefill chunk of one choice, which brought no token yet."""
        sequence = share.sequence
        return self._delta(
            choice=sequence.choice, index=len(sequence.output_ids), token_ids=(), text="",
            released=self._text[sequence.choice].released, **_computed(share),
        )  # fmt: skip

    def beams(self, best: list[Hypothesis]) -> list[Delta]:
        """Return the answers of a finished beam search, each in one delta."""
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
                logprobs = tuple(
                    TokenLogprobs(token_id, value, self._vocabulary.bytes_of(token_id)) for token_id, value in pairs
                )
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
