"""Cores are leased to one gang at a time."""

from actors.cluster.reaper import spare_cores


def test_a_gang_gets_cores_that_no_other_gang_has() -> None:
    first = spare_cores((0, 1, 2, 3), {}, 2)
    assert first == (0, 1)
    assert spare_cores((0, 1, 2, 3), {"a": first}, 2) == (2, 3)


def test_a_gang_that_would_have_to_share_cores_is_left_to_the_kernel() -> None:
    assert spare_cores((0, 1, 2), {"a": (0, 1)}, 2) == ()


def test_cores_that_this_process_may_not_use_are_not_leased() -> None:
    assert spare_cores((5, 7), {}, 2) == (5, 7)
