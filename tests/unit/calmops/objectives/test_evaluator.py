"""Tests the embedded evaluator: when it pages, when it opens a ticket, and when it does neither."""

import pickle

import msgspec
import pytest

from calmops.foundation.metric_names import BAD, GOOD
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.evaluator import Evaluator
from calmops.objectives.evaluation.event_counters import Counter
from calmops.objectives.promises.objective import Ratio, Source, Value, Zero
from calmops.objectives.promises.windows import Window, Windows, read_windows
from tests.support.evaluator_traffic import DAY, HOUR, MODEL, Driven, Traffic, between, spans, steady
from tests.support.openslo_documents import WINDOWS

COMMON = {"name": "o", "title": "O", "says": "It holds.", "alert": "OBroken", "team": "t", "escalation": "e"}
SUCCESS = Ratio(
    **COMMON, severity="page", source=Source(events="requests"), target=0.99, period_s=30 * 86400, least_events=100
)


@pytest.fixture(name="windows", scope="module")
def shipped_windows() -> Windows:
    return read_windows(WINDOWS)


def window(windows: Windows, name: str) -> Window:
    return next(one for one in windows.windows if one.name == name)


def test_a_total_outage_pages_within_the_fast_windows_delay_and_ends_with_its_short_span(windows: Windows) -> None:
    driven = Driven(SUCCESS, windows, Traffic(steady(100), between(DAY, DAY + 30, 1.0))).run(DAY + 2 * HOUR)
    delay = round(windows.delay_s(window(windows, "at-risk"), SUCCESS, 1.0) / 60)  # a month's budget would end in hours
    (first, last), *more = spans(driven.minutes("page"))
    assert delay - 1 <= first - DAY <= delay + 1 < windows.delay_s(window(windows, "fast"), SUCCESS, 1.0) / 60
    assert DAY + 30 < last <= DAY + 30 + 30  # the slow window's short span is half an hour
    assert not more


def test_a_slow_burn_pages_by_the_slow_window_and_opens_a_ticket(windows: Windows) -> None:
    driven = Driven(SUCCESS, windows, Traffic(steady(100), between(3 * DAY, 5 * DAY, 0.08))).run(4 * DAY)
    delays = {name: round(windows.delay_s(window(windows, name), SUCCESS, 0.08) / 60) for name in ("slow", "day")}
    assert delays["slow"] - 1 <= driven.minutes("page")[0] - 3 * DAY <= delays["slow"] + 1
    assert delays["day"] - 1 <= driven.minutes("ticket")[0] - 3 * DAY <= delays["day"] + 1


def test_three_times_the_rate_pages_only_once_the_budget_is_at_risk(windows: Windows) -> None:
    driven = Driven(SUCCESS, windows, Traffic(steady(100), between(2 * DAY, 9 * DAY, 0.04))).run(8 * DAY)
    first = driven.minutes("page")[0]
    left = driven.evaluator.budget_left(SUCCESS, MODEL, 60.0 * first)
    assert first - 2 * DAY > 2 * DAY
    assert left is not None and 0.35 < left < 0.5, "half of the budget is gone, or three days' worth is left"


def test_a_burn_rate_of_1_never_alerts(windows: Windows) -> None:
    driven = Driven(SUCCESS, windows, Traffic(steady(100), lambda _: 0.01)).run(4 * DAY)
    assert not driven.minutes("page") and not driven.minutes("ticket")


@pytest.mark.parametrize(("said", "every"), [("idle", 10**6), ("36 events in six hours, of the 100 that it takes", 10)])
def test_idle_and_low_traffic_never_alert(said: str, every: int, windows: Windows) -> None:
    driven = Driven(SUCCESS, windows, Traffic(lambda minute: minute % every == 0, between(DAY, DAY + HOUR, 1.0))).run(
        DAY + HOUR
    )
    assert not driven.minutes("page"), said


def test_a_restart_of_the_counters_causes_no_alert_and_hides_none(windows: Windows) -> None:
    driven = Driven(SUCCESS, windows, Traffic(steady(100), between(DAY, DAY + 30, 1.0))).run(DAY - HOUR)
    driven.restart()
    assert not driven.run(HOUR).minutes("page")
    driven.run(5)
    driven.restart()
    assert 4 <= driven.run(30).minutes("page")[0] - DAY <= 7


def test_missing_readings_cause_no_alert(windows: Windows) -> None:
    driven = (
        Driven(SUCCESS, windows, Traffic(steady(100), between(0, 0, 0.0)))
        .run(DAY)
        .run(2 * HOUR, reading=False)
        .run(HOUR)
    )
    assert not driven.minutes("page") and not driven.minutes("ticket")


def test_maintenance_silences_the_page_and_not_the_budget(windows: Windows) -> None:
    outage = Traffic(steady(100), between(DAY, DAY + HOUR, 1.0))
    loud, silent = (Driven(SUCCESS, windows, outage).run(DAY) for _ in range(2))
    silent.maintained.add("m")
    loud.run(HOUR), silent.run(HOUR)
    assert loud.minutes("page") and not silent.minutes("page") and not silent.minutes("ticket")
    at_s = 60.0 * silent.minute
    lefts = [driven.evaluator.budget_left(SUCCESS, MODEL, at_s) for driven in (silent, loud)]
    assert lefts[0] == lefts[1] != 1.0
    silent.maintained = {"another"}
    assert silent.run(1).fired[-1]
    silent.maintained = {""}
    assert not silent.run(1).fired[-1], "an empty name stands for every model"


def test_a_page_sums_over_shards_and_a_ticket_is_about_one_shard(windows: Windows) -> None:
    well = (Traffic(steady(100), lambda _: 0.0, shard) for shard in ("0", "1", "2"))
    ill = Traffic(steady(100), between(DAY, 4 * DAY, 0.05), "3")
    driven = Driven(SUCCESS, windows, *well, ill).run(3 * DAY)
    assert not driven.minutes("page"), "a quarter of the traffic burns 5 times, all of it 1.25 times as fast as it may"
    assert {one.labels for firing in driven.fired for one in firing} == {ShardLabels(MODEL, "3")}


def test_a_zero_pages_at_one_bad_event_even_under_maintenance_and_ends_by_itself(windows: Windows) -> None:
    zero = Zero(**COMMON, severity="page", source=Source(events="pii_scans"))
    driven = Driven(zero, windows, Traffic(steady(100), between(HOUR, HOUR + 1, 0.01)))
    driven.maintained = {"m", ""}
    driven.run(2 * HOUR)
    assert spans(driven.minutes("page")) == [(HOUR, HOUR + 9)]


def test_a_shard_that_isnt_read_any_more_is_forgotten_once_nothing_looks_back_on_it(windows: Windows) -> None:
    ratio = msgspec.structs.replace(SUCCESS, period_s=4 * 86400)
    zero = Zero(**COMMON | {"name": "z"}, severity="page", source=Source(events="pii_scans"))
    evaluator = Evaluator([ratio, zero], windows)

    def run(minutes: range, *shards: str) -> None:
        for minute in minutes:
            names = [
                Counter(name, ShardLabels(MODEL, shard), result)
                for name in ("o", "z")
                for shard in shards
                for result in (GOOD, BAD)
            ]
            evaluator.read(60.0 * minute, dict.fromkeys(names, float(minute)), {})
            evaluator.evaluate(60.0 * minute)

    run(range(HOUR), "gone")
    run(range(HOUR, HOUR + 20), "stays")
    assert evaluator.models("z") == [MODEL] and evaluator.budget_left(ratio, MODEL, 60.0 * (HOUR + 19)) is not None
    run(range(HOUR + 20, 3 * DAY + HOUR + 2), "stays")
    assert "gone" not in str(pickle.dumps(evaluator)), "a ticket looks back on a shard for three days"
    run(range(3 * DAY + HOUR + 2, 3 * DAY + HOUR + 30))
    assert (evaluator.models("o"), evaluator.models("z")) == ([MODEL], [])
    run(range(7 * DAY + HOUR, 7 * DAY + HOUR + 10))
    assert evaluator.models("o") == []
    assert len(pickle.dumps(evaluator)) < len(pickle.dumps(Evaluator([ratio, zero], windows))) + 200


def test_labels_that_come_and_go_take_bounded_memory(windows: Windows) -> None:
    zero = Zero(**COMMON, severity="page", source=Source(events="pii_scans"))
    evaluator, sizes = Evaluator([zero], windows), []
    for minute in range(10 * HOUR):
        shard = ShardLabels(MODEL._replace(version=f"v{minute // 10:03}"), "0")
        evaluator.read(60.0 * minute, {Counter("o", shard, result): 1.0 for result in (GOOD, BAD)}, {})
        evaluator.evaluate(60.0 * minute)
        sizes.append(len(pickle.dumps(evaluator)))
    assert max(sizes[HOUR:]) == max(sizes[5 * HOUR :])


def test_a_value_alerts_once_it_was_out_of_bounds_for_its_time(windows: Windows) -> None:
    value = Value(**COMMON, severity="ticket", gauge="calmops_cost_per_1k_tokens", op="lte", bound=2.0, for_s=600)
    evaluator = Evaluator([value], windows)
    fired = []
    for minute in range(60):
        cost = 3.0 if 10 <= minute < 15 or 20 <= minute < 40 else 2.0
        evaluator.read(60.0 * minute, {}, {"calmops_cost_per_1k_tokens": {ModelLabels("m"): cost}})
        fired += [minute for _ in evaluator.evaluate(60.0 * minute)]
    assert spans(fired) == [(30, 39)]


def test_maintenance_makes_a_value_wait_again(windows: Windows) -> None:
    value = Value(**COMMON, severity="ticket", gauge="calmops_cost_per_1k_tokens", op="lte", bound=2.0, for_s=600)
    evaluator, fired = Evaluator([value], windows), []
    for minute in range(40):
        evaluator.read(60.0 * minute, {}, {"calmops_cost_per_1k_tokens": {ModelLabels("m"): 3.0}})
        fired += [minute for _ in evaluator.evaluate(60.0 * minute, {"m"} if 5 <= minute < 15 else ())]
    assert spans(fired) == [(25, 39)], "not from 15 on: nobody knows yet whether it lasts"
