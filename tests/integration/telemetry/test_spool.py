"""Tests the spool on a real SQLite file: durable, gapless, in order; marks, retention, leases."""

from pathlib import Path

import pytest

from calmops.telemetry.log.codec import decode
from calmops.telemetry.log.spool import Spool, SpoolLease, remove_spool
from tests.support.killable_process import python_process
from tests.support.telemetry_records import T0_NS, closed, frame, opened


def numbers(spool: Spool, after_seq: int = 0) -> list[int]:
    """Return the seqs that the file holds above ``after_seq``."""
    return [seq for seq, _ in spool.read(after_seq, 10_000)]


def test_records_come_back_in_order_with_gapless_numbers_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "gw.db"
    first = Spool(path)
    assert first.append([opened("a"), frame(1)], T0_NS) == 2
    first.close()
    second = Spool(path)
    assert second.append([frame(2), closed("a")], T0_NS) == 4
    envelopes = [decode(body) for _, body in second.read(0, 10)]
    assert [e.seq for e in envelopes] == [1, 2, 3, 4]
    assert [e.record for e in envelopes] == [opened("a"), frame(1), frame(2), closed("a")]
    assert {e.source for e in envelopes} == {"gw"}


def test_a_failed_append_keeps_nothing_and_uses_no_number(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gw.db")
    spool.append([frame(1)], T0_NS)
    with pytest.raises(Exception, match="Encoding objects"):
        spool.append([frame(2), object()], T0_NS)  # type: ignore[list-item]
    assert spool.append([frame(3)], T0_NS) == 2
    assert numbers(spool) == [1, 2]


def test_orphans_are_opening_records_without_a_closing_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gw.db")
    spool.append([opened("a"), opened("b"), frame(1)], T0_NS)
    spool.append([closed("a"), opened("c")], T0_NS)
    assert [record.request_id for record in spool.orphans()] == ["b", "c"]


def test_numbering_continues_after_every_record_was_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gw.db")
    spool.append([frame(step) for step in range(10)], T0_NS)
    spool.advance("meter", 10)
    assert spool.prune("meter", T0_NS + 1, keep_bytes=0) == 10
    assert (spool.is_empty(), spool.size_bytes) == (True, 0)
    spool.close()
    assert Spool(tmp_path / "gw.db").append([frame(11)], T0_NS) == 11


@pytest.mark.parametrize(
    ("taken", "before_ns", "keep_bytes", "left"),
    [
        (0, T0_NS + 100, 0, 10),  # a record that no reader has taken stays, however old
        (6, T0_NS + 100, 1 << 30, 4),  # taken and old
        (10, T0_NS + 3, 1 << 30, 7),  # taken, but only three are old enough
        (10, T0_NS, 0, 0),  # young, but over the size
    ],
)
def test_pruning_deletes_only_records_that_were_taken_and_are_old_or_over_the_size(
    tmp_path: Path, taken: int, before_ns: int, keep_bytes: int, left: int
) -> None:
    spool = Spool(tmp_path / "gw.db")
    for step in range(10):
        spool.append([frame(step)], T0_NS + step)
    spool.advance("meter", taken)
    spool.prune("meter", before_ns, keep_bytes)
    assert len(numbers(spool)) == left
    assert spool.size_bytes == sum(len(body) for _, body in spool.read(0, 100))


def test_a_mark_never_goes_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gw.db")
    spool.advance("kafka", 9)
    spool.advance("kafka", 4)
    assert (spool.mark("kafka"), spool.mark("meter")) == (9, 0)


def test_one_process_holds_a_lease_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "gw.db"
    program = (
        "import sys; from pathlib import Path; from calmops.telemetry.log.spool import SpoolLease\n"
        f"lease = SpoolLease(Path({str(path)!r})); print(lease.acquire(), flush=True); sys.stdin.read()"
    )
    with python_process(program) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        assert not SpoolLease(path).acquire()
        holder.kill()
        holder.wait()
    assert SpoolLease(path).acquire()


def test_a_removed_spool_leaves_no_file(tmp_path: Path) -> None:
    lease = SpoolLease(tmp_path / "gw.db")
    assert lease.acquire()
    Spool(tmp_path / "gw.db").close()
    remove_spool(tmp_path / "gw.db")
    lease.release()
    assert list(tmp_path.iterdir()) == []
