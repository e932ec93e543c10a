"""Builds records as gateways write them, with defaults or drawn by hypothesis. For the telemetry tests."""

from hypothesis import strategies as st

from calmops.foundation.metric_names import EVENTS
from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import (
    OUTCOMES,
    REPORTED,
    SCHEMA,
    Closed,
    Counted,
    Dropped,
    Envelope,
    FrameRecord,
    Opened,
    Record,
    Reported,
    SequenceStep,
)

M = ModelLabels("m")  # the label set of a record whose only label is its model
T0_NS = 1_700_000_000_000_000_000


def opened(request_id: str, gateway_id: str = "gw", at_ns: int = T0_NS, prompt_tokens: int = 5) -> Opened:
    """Return the record of an accepted request."""
    return Opened(
        request_id=request_id, model="m", gateway_id=gateway_id, at_ns=at_ns, prompt_tokens=prompt_tokens,
        max_tokens=16, choices=1, stream=True,
    )  # fmt: skip


def closed(
    request_id: str,
    outcome: str = "completed",
    delivered: int = 3,
    at_ns: int = T0_NS,
    queued_ns: int | None = None,
    longest: int = 0,
) -> Closed:
    """Return the record of a request that ended with its ledger held."""
    return Closed(
        request_id=request_id, model="m", gateway_id="gw", at_ns=at_ns, outcome=outcome, attempts=1, prompt_tokens=5,
        journaled=delivered, delivered=delivered, discarded=0, ttft_ns=30_000_000, duration_ns=200_000_000,
        queued_ns=queued_ns, longest=longest,
    )  # fmt: skip


def frame(step: int, sequences: int = 2, gang_id: str = "gang", gap_ns: int | None = 20_000_000) -> FrameRecord:
    """Return the record of one decoding step of ``sequences`` sequences, one token each."""
    return FrameRecord(
        replica_id="r", gang_id=gang_id, shard=0, model="m", step=step, at_ns=T0_NS + step * 20_000_000,
        duration_ns=15_000_000, rows=sequences, decode_rows=sequences, running=sequences, waiting=1,
        kv_blocks_used=4, kv_blocks_total=64,
        sequences=tuple(
            SequenceStep(
                request_id=f"request-{i}", attempt=1, choice=0, index=step, tokens=1, released=1,
                gap_engine_ns=gap_ns, gap_gateway_ns=gap_ns,
            )
            for i in range(sequences)
        ),
    )  # fmt: skip


def envelopes(source: str, records: list[Record]) -> list[Envelope]:
    """Return the records in envelopes, numbered as a spool numbers them."""
    return [Envelope(SCHEMA, source, seq, record) for seq, record in enumerate(records, start=1)]


_labels = st.builds(
    lambda version, variant: ModelLabels(version=version, variant=variant).rest,
    st.sampled_from(["", "1", "2"]),
    st.sampled_from(["stable", "canary"]),
)
_small = st.integers(0, 1 << 40)
_gaps = st.none() | st.integers(0, 100_000_000_000)
_ids = st.text(st.characters(codec="utf-8"), max_size=12)
_times = st.integers(T0_NS, T0_NS + 10**12)

sequence_steps = st.builds(
    SequenceStep, request_id=_ids, attempt=st.integers(1, 5), choice=st.integers(0, 8), index=_small,
    tokens=st.integers(0, 4), released=st.integers(0, 4), gap_engine_ns=_gaps, gap_gateway_ns=_gaps,
    prefilled=st.integers(0, 64), recomputed=st.integers(0, 64), cached=st.integers(0, 64),
)  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> FrameRecord:
    """Draw a gateway's record of a step: its facts follow from (gang, step), its sequences are drawn."""
    gang, step = draw(st.integers(0, 2)), draw(st.integers(1, 30))
    return FrameRecord(
        replica_id=f"replica-{gang}", gang_id=f"gang-{gang}", shard=gang % 2, model="m", step=step,
        at_ns=T0_NS + step * 1_000_000 + gang, duration_ns=step * 700_000, rows=step, running=gang,
        waiting=step % 3, kv_blocks_used=step, kv_blocks_total=64, preempted=step % 2,
        sequences=tuple(draw(st.lists(sequence_steps, max_size=4))),
    )  # fmt: skip


_opened_records = st.builds(
    Opened, request_id=_ids, model=st.sampled_from(["m", "n"]), gateway_id=_ids, at_ns=_times,
    prompt_tokens=_small, max_tokens=_small, choices=st.integers(1, 8), stream=st.booleans(),
    labels=_labels,
)  # fmt: skip
_closed_records = st.builds(
    Closed, request_id=_ids, model=st.sampled_from(["m", "n"]), gateway_id=_ids, at_ns=_times,
    outcome=st.sampled_from(OUTCOMES), attempts=st.integers(0, 4), prompt_tokens=_small, journaled=_small,
    delivered=_small, discarded=_small, ttft_ns=_gaps, duration_ns=_small, ledger=st.sampled_from(["held", "unknown"]),
    exact_lost=st.booleans(), detail=st.none() | _ids, shard=st.integers(-1, 3), labels=_labels,
)  # fmt: skip
_drops = st.builds(
    Dropped, gateway_id=_ids, at_ns=_times, reason=st.sampled_from(["ring_full", "spool_full"]), records=_small,
    tokens=_small,
)  # fmt: skip
_counts = st.builds(
    Counted, gateway_id=_ids, model=st.just("m"), at_ns=_times, name=st.sampled_from(EVENTS),
    reason=st.sampled_from(["a", "b"]), value=_small, labels=_labels,
)  # fmt: skip

_reports = st.builds(
    Reported, gateway_id=_ids, model=st.just("m"), at_ns=_times, name=st.sampled_from(REPORTED), good=_small,
    bad=_small, value=st.none() | st.floats(0, 10), labels=_labels,
)  # fmt: skip

any_record = st.one_of(frames(), _opened_records, _closed_records, _drops, _counts, _reports)


@st.composite
def logs(draw: st.DrawFn) -> list[Envelope]:
    """Draw what up to three gateways wrote, each numbered gapless from 1."""
    written: list[Envelope] = []
    for source in ("gw-a", "gw-b", "gw-c")[: draw(st.integers(1, 3))]:
        written += envelopes(source, draw(st.lists(any_record, max_size=12)))
    return written
