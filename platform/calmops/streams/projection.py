"""Projects a frame to its published record: counts, times and positions, no text and no ids. Gateway to telemetry."""

from collections.abc import Mapping, Sequence

from calmops.foundation.liveness import HEARTBEAT_RECORD_S
from calmops.foundation.model_labels import NO_LABELS, ModelLabels
from calmops.messages.frame import Frame
from calmops.messages.record import FrameRecord, SequenceStep
from calmops.streams.journal import Taken

HEARTBEAT_NS = int(HEARTBEAT_RECORD_S * 1e9)


class Projection:
    """Projects one gateway's frames."""

    def __init__(self, labels: Mapping[str, ModelLabels] | None = None) -> None:
        """``labels`` holds each model's label set, by its name."""
        self._labels: Mapping[str, ModelLabels] = {} if labels is None else labels
        self._beaten_ns: dict[str, int] = {}
        self._kv_blocks_total: dict[str, int] = {}

    def project(self, frame: Frame, takings: Sequence[tuple[str, int, Taken]], now_ns: int) -> FrameRecord | None:
        """Return the record of one frame and its (request id, attempt, taken); None for a heartbeat too many."""
        facts = frame.facts
        if facts is None:
            return self._heartbeat(frame, now_ns)
        self._kv_blocks_total[frame.gang_id] = facts.kv_blocks_total
        return FrameRecord(
            replica_id=frame.replica_id, gang_id=frame.gang_id, shard=frame.shard, model=frame.model, step=frame.step,
            at_ns=frame.engine_ns, duration_ns=facts.duration_ns, rows=facts.rows, decode_rows=facts.decode_rows,
            prefill_rows=facts.prefill_rows, running=facts.running, waiting=facts.waiting,
            kv_blocks_used=facts.kv_blocks_used, kv_blocks_total=facts.kv_blocks_total, preempted=facts.preempted,
            sequences=tuple(_share(request_id, attempt, taken) for request_id, attempt, taken in takings),
            labels=self._labels.get(frame.model, NO_LABELS).rest,
        )  # fmt: skip

    def _heartbeat(self, frame: Frame, now_ns: int) -> FrameRecord | None:
        if now_ns - self._beaten_ns.get(frame.gang_id, -HEARTBEAT_NS) < HEARTBEAT_NS:
            return None
        self._beaten_ns[frame.gang_id] = now_ns
        if len(self._beaten_ns) > 1024:
            oldest = min(self._beaten_ns, key=self._beaten_ns.__getitem__)
            del self._beaten_ns[oldest]
            self._kv_blocks_total.pop(oldest, None)
        return FrameRecord(
            replica_id=frame.replica_id, gang_id=frame.gang_id, shard=frame.shard, model=frame.model, step=frame.step,
            at_ns=frame.engine_ns, duration_ns=None, kv_blocks_total=self._kv_blocks_total.get(frame.gang_id, 0),
            labels=self._labels.get(frame.model, NO_LABELS).rest,
        )  # fmt: skip


def _share(request_id: str, attempt: int, taken: Taken) -> SequenceStep:
    return SequenceStep(
        request_id=request_id, attempt=attempt, choice=taken.choice, index=taken.index, tokens=len(taken.new_ids),
        released=taken.released, gap_engine_ns=taken.gap_engine_ns, gap_gateway_ns=taken.gap_gateway_ns,
        prefilled=taken.prefilled, recomputed=taken.recomputed, cached=taken.cached,
    )  # fmt: skip
