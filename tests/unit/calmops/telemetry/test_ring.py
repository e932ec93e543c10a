"""Tests the ring: it is bounded, keeps order, reserves room, and counts every drop."""

from hypothesis import given
from hypothesis import strategies as st

from calmops.messages.record import Closed, FrameRecord, Opened, Record
from calmops.telemetry.log.ring import Ring, tokens_of
from tests.support.telemetry_records import closed, frame, opened


@given(st.lists(st.sampled_from(["frame", "opened", "closed", "take"]), max_size=60), st.integers(2, 8))
def test_a_record_that_was_put_is_taken_in_order_or_counted_as_dropped(actions: list[str], capacity: int) -> None:
    ring, taken, refused = Ring(capacity, reserved=capacity // 2), [], []
    put: list[Record] = []
    for number, action in enumerate(actions):
        if action == "take":
            taken += [record for record, _ in ring.take(3)]
            continue
        makers: dict[str, Record] = {
            "frame": frame(number),
            "opened": opened(str(number)),
            "closed": closed(str(number)),
        }
        record = makers[action]
        put.append(record)
        if not ring.put(record):
            refused.append(record)
        assert len(ring) <= capacity
    taken += [record for record, _ in ring.take(capacity)]
    assert taken == [record for record in put if record not in refused]
    drops = ring.take_drops()
    assert drops == ({"ring_full": (len(refused), sum(map(tokens_of, refused)))} if refused else {})
    assert ring.dropped == ({"ring_full": len(refused)} if refused else {})


def test_the_last_places_take_only_opening_and_closing_records() -> None:
    ring = Ring(capacity=4, reserved=2)
    frames_taken = [ring.put(frame(step)) for step in range(4)]
    assert frames_taken == [True, True, False, False]
    assert [ring.put(opened("a")), ring.put(closed("a")), ring.put(opened("b"))] == [True, True, False]
    kinds = [type(record) for record, _ in ring.take(10)]
    assert kinds == [FrameRecord, FrameRecord, Opened, Closed]


def test_restored_drops_are_added_to_those_counted_since() -> None:
    ring = Ring(capacity=1, reserved=0)
    ring.count_drop("spool_full", frame(1, sequences=3))
    drops = ring.take_drops()
    ring.count_drop("spool_full", frame(2, sequences=2))
    ring.restore_drops(drops)
    assert ring.take_drops() == {"spool_full": (2, 5)}
    assert ring.take_drops() == {}
