"""Each source's own numbering: which of its records were seen, which are late, which are lost. Pure, as the fold that asks it.

A source's progress is kept for good, some 100 bytes each: its gateway's spool may come back with its node after any time, and
be forwarded once more from where it was; what was forgotten would then be counted a second time.
"""

from calmops.telemetry.metering.counts import LATE_RECORDS, Counts, SourceProgress

SILENT_NS = (
    3600 * 10**9
)  # a source that was read nothing of for so long has nothing late under way: a log keeps its order


def is_new(counts: Counts, source: str, seq: int, heard_ns: int) -> bool:
    """Whether this record is met for the first time; from now on it has been. ``heard_ns``: when it was read."""
    progress = _progress(counts, source)
    progress.heard_ns = max(progress.heard_ns, heard_ns)
    if seq == progress.contiguous + 1:
        progress.contiguous = seq
        if progress.ahead:
            _close_up(progress)
        return True
    if seq <= progress.contiguous or seq in progress.ahead:
        return False
    progress.ahead.add(seq)
    if len(progress.ahead) > LATE_RECORDS:
        skip_to(counts, source, min(progress.ahead) - 1)
    return True


def missing(counts: Counts) -> int:
    """Seqs not yet seen below a source's highest one: late, or lost."""
    return sum(max(p.ahead) - p.contiguous - len(p.ahead) for p in counts.sources.values() if p.ahead)


def begin_at(counts: Counts, source: str, seq: int) -> None:
    """Take a source that nothing is known of as seen up to ``seq``: another meter counted that before it was let go."""
    if source not in counts.sources:
        counts.sources[source] = SourceProgress(contiguous=seq)


def skip_to(counts: Counts, source: str, seq: int) -> None:
    """Take everything of ``source`` up to ``seq`` as lost for good: retention has passed it by."""
    progress = _progress(counts, source)
    if seq <= progress.contiguous:
        return
    present = {s for s in progress.ahead if s <= seq}
    counts.gaps += seq - progress.contiguous - len(present)
    progress.ahead -= present
    progress.contiguous = seq
    _close_up(progress)


def give_up(counts: Counts, before_ns: int) -> bool:
    """Take as lost what is missing of sources that nothing was read of since ``before_ns``; whether there was any."""
    silent = [(source, max(p.ahead)) for source, p in counts.sources.items() if p.ahead and p.heard_ns < before_ns]
    for source, newest in silent:
        skip_to(counts, source, newest)
    return bool(silent)


def _progress(counts: Counts, source: str) -> SourceProgress:
    progress = counts.sources.get(source)
    if progress is None:
        progress = counts.sources[source] = SourceProgress()
    return progress


def _close_up(progress: SourceProgress) -> None:
    while progress.contiguous + 1 in progress.ahead:
        progress.contiguous += 1
        progress.ahead.remove(progress.contiguous)
