"""How objectives stand, for people."""

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


def test_a_ratio_burns_by_span_and_has_a_budget_left() -> None:
    driven = Driven(SUCCESS, read_windows(WINDOWS), Traffic(steady(100), between(DAY, 2 * DAY, 0.05))).run(DAY + 60)
    (told,) = statuses([SUCCESS], driven.evaluator, 60.0 * driven.minute)
    assert told.model == MODEL
    assert {span: round(burn or 0, 1) for span, burn in told.burns.items()} == {"5m": 5.0, "1h": 5.0, "6h": 0.8}
    assert told.left is not None and 0.8 < told.left < 1
    assert told.kept


def test_a_zero_and_a_value_are_told_in_words() -> None:
    driven = Driven(CLEAN, read_windows(WINDOWS), Traffic(steady(10), between(30, 31, 0.2))).run(20)
    assert [one.told for one in statuses([CLEAN], driven.evaluator, 60.0 * driven.minute)] == ["none in the last 10m"]
    driven.run(15)
    (bad,) = statuses([CLEAN], driven.evaluator, 60.0 * driven.minute)
    assert (bad.told, bad.kept) == ("2 in the last 10m", False)
    evaluator = Evaluator([CHEAP], read_windows(WINDOWS))
    evaluator.read(0.0, {}, {CHEAP.gauge: {MODEL: 3.0}})
    (dear,) = statuses([CHEAP], evaluator, 0.0)
    assert (dear.told, dear.kept) == ("3, promised ≤ 2", False)


def test_what_has_no_event_yet_is_told_too() -> None:
    (told,) = statuses([SUCCESS], Evaluator([SUCCESS], read_windows(WINDOWS)), 0.0)
    assert (told.model, told.kept, told.left, told.told) == (None, None, None, "nothing was counted yet")
