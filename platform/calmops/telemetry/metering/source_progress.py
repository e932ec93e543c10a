"""Follows each source's numbering for the fold: which records were seen, which are late, which are lost. Pure.

A source's progress, some 100 bytes, is kept for good: its gateway's spool may come back with its node after any time
and be forwarded from where it was; records that the meter had forgotten would then be counted a second time.
"""

from calmops.telemetry.metering.counts import LATE_RECORDS, Counts, SourceProgress

# No late record of a source comes after nothing was read of it for this long, since a log keeps its order.
SILENT_NS = 3600 * 10**9


def note_seen(counts: Counts, source: str, seq: int, heard_ns: int) -> bool:
    """Note a record as seen; return whether it is new. ``heard_ns``: when it was read."""
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
    """Return how many seqs below the sources' highest ones were not seen yet: they are late, or lost."""
    return sum(max(p.ahead) - p.contiguous - len(p.ahead) for p in counts.sources.values() if p.ahead)


def begin_at(counts: Counts, source: str, seq: int) -> None:
    """Take a source that is not known yet as seen up to ``seq``: another meter counted that before it was deleted."""
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
    """Take as lost what is missing of sources not read since ``before_ns``; return whether anything was missing."""
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
