import numpy as np

from calmops.training.data.batches import Batches, Phase

PHASES = (Phase(steps=9, window_tokens=8), Phase(steps=5, window_tokens=16))


def documents(count: int = 30) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [[0, *draw.integers(1, 50, draw.integers(5, 40)).tolist(), 1] for _ in range(count)]


def batches(seed: int = 1) -> Batches:
    return Batches(documents(), PHASES, batch_tokens=32, seed=seed)


def test_a_batch_depends_on_its_step_alone_not_on_what_was_read_before() -> None:
    read_through = [batches().batch(step) for step in range(14)]
    same_reader = batches()
    backwards = [same_reader.batch(step) for step in reversed(range(14))][::-1]
    fresh = [batches().batch(step) for step in range(14)]
    for a, b, c in zip(read_through, backwards, fresh, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def test_each_phase_has_its_own_window_and_as_many_tokens_per_step() -> None:
    shapes = [batches().batch(step).shape for step in range(14)]
    assert shapes == [(4, 8)] * 9 + [(2, 16)] * 5


def test_an_epoch_shows_every_window_once() -> None:
    total = sum(map(len, documents()))
    per_epoch = total // 8 // 4
    served = Batches(documents(), (Phase(steps=per_epoch, window_tokens=8),), batch_tokens=32, seed=2)
    tokens = np.concatenate([served.batch(step).ravel() for step in range(per_epoch)])
    everything = np.concatenate([np.asarray(d) for d in documents()])
    left = np.bincount(everything, minlength=50) - np.bincount(tokens, minlength=50)
    assert (left >= 0).all()
    assert left.sum() == total - per_epoch * 32


def test_another_seed_gives_another_order() -> None:
    assert not np.array_equal(batches(1).batch(0), batches(2).batch(0))
