from pathlib import Path
from typing import Any

import pytest

from calmops.foundation.errors import InputError
from calmops.training.training_options import TrainingOptions


def options(**given: Any) -> TrainingOptions:
    return TrainingOptions(work=Path("w"), release=Path("r"), **given)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    run = options(steps=1000, warmup_steps=100, decay_share=0.4, peak_rate=1.0)
    rates = [run.rate(step) for step in range(1000)]
    assert rates[:100] == sorted(rates[:100])
    assert set(rates[100:600]) == {1.0}
    assert rates[600:] == sorted(rates[600:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_the_free_steps_are_the_same_in_a_longer_run() -> None:
    short, long = options(steps=1000), options(steps=3000)
    assert [short.rate(s) for s in range(short.free_steps())] == [long.rate(s) for s in range(short.free_steps())]
    assert short.fingerprint() == long.fingerprint()


def test_each_option_that_changes_the_weights_changes_the_fingerprint() -> None:
    plain = options().fingerprint()
    for change in ({"seed": 2}, {"layers": 4}, {"peak_rate": 1e-3}, {"batch_tokens": 4096}, {"dtype": "float32"}):
        assert options(**change).fingerprint() != plain, change
    assert options(checkpoint_every=7).fingerprint() == plain


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"dtype": "float16"}, "not 'float16'"),
        ({"long_share": 1.5}, "long_share must be between 0 and 1, not 1.5"),
        ({"batch_tokens": 512}, "batch_tokens is 512, but a window is 1024"),
    ],
)
def test_a_wrong_option_is_refused_with_limit_and_value(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        options(**given)
