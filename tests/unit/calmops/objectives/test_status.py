"""Tests how objectives' statuses are described for people."""

from calmops.objectives.evaluation.evaluator import Evaluator
from calmops.objectives.evaluation.status import statuses
from calmops.objectives.promises.objective import Ratio, Source, Value, Zero
from calmops.objectives.promises.windows import read_windows
from tests.support.evaluator_traffic import DAY, MODEL, Driven, Traffic, between, steady
from tests.support.openslo_documents import WINDOWS

COMMON = {"title": "O", "says": "It holds.", "alert": "OBroken", "team": "t", "escalation": "e"}
SUCCESS = Ratio(
    name="success",
    **COMMON,
    severity="page",
    source=Source(events="requests"),
    target=0.99,
    period_s=30 * 86400,
    least_events=100,
)
CLEAN = Zero(name="clean", **COMMON, severity="page", source=Source(events="pii_scans"))
CHEAP = Value(
    name="cheap", **COMMON, severity="page", gauge="calmops_cost_per_1k_tokens", op="lte", bound=2.0, for_s=60
)


def test_a_ratio_s_status_has_a_burn_rate_by_span_and_the_budget_left() -> None:
    driven = Driven(SUCCESS, read_windows(WINDOWS), Traffic(steady(100), between(DAY, 2 * DAY, 0.05))).run(DAY + 60)
    (status,) = statuses([SUCCESS], driven.evaluator, 60.0 * driven.minute)
    assert status.model == MODEL
    assert {span: round(burn or 0, 1) for span, burn in status.burns.items()} == {"5m": 5.0, "1h": 5.0, "6h": 0.8}
    assert status.left is not None and 0.8 < status.left < 1
    assert status.kept


def test_a_zero_and_a_value_are_described_in_words() -> None:
    driven = Driven(CLEAN, read_windows(WINDOWS), Traffic(steady(10), between(30, 31, 0.2))).run(20)
    (clean,) = statuses([CLEAN], driven.evaluator, 60.0 * driven.minute)
    assert clean.in_words == "none in the last 10m"
    driven.run(15)
    (bad,) = statuses([CLEAN], driven.evaluator, 60.0 * driven.minute)
    assert (bad.in_words, bad.kept) == ("2 in the last 10m", False)
    evaluator = Evaluator([CHEAP], read_windows(WINDOWS))
    evaluator.read(0.0, {}, {CHEAP.gauge: {MODEL: 3.0}})
    (dear,) = statuses([CHEAP], evaluator, 0.0)
    assert (dear.in_words, dear.kept) == ("3, promised ≤ 2", False)


def test_an_objective_without_events_has_a_status_too() -> None:
    (status,) = statuses([SUCCESS], Evaluator([SUCCESS], read_windows(WINDOWS)), 0.0)
    assert (status.model, status.kept, status.left, status.in_words) == (None, None, None, "nothing was counted yet")
