"""Shows that shipped OpenSLO documents are read whole, and that invalid ones are refused with file, line and remedy."""

from pathlib import Path
from typing import Any

import pytest

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.objective import Ratio, Value, Zero
from calmops.objectives.promises.openslo import read_objective, read_objectives
from calmops.objectives.promises.windows import Windows, read_windows
from tests.support.openslo_documents import SHIPPED, WINDOWS, change, document, write

GOOD = "spec/indicator/spec/ratioMetric/good/metricSource/spec"
TOTAL = "spec/indicator/spec/ratioMetric/total/metricSource/spec"


@pytest.fixture(name="windows")
def shipped_windows() -> Windows:
    return read_windows(WINDOWS)


def test_the_shipped_objectives_are_those_that_the_guide_asks_for(windows: Windows) -> None:
    by_name = {one.name: one for one in read_objectives(SHIPPED, windows)}
    p99, p50, success = (by_name[name] for name in ("token-latency-p99", "token-latency-p50", "request-success"))
    assert isinstance(p99, Ratio) and (p99.target, p99.source.within_s, p99.severity) == (0.99, 0.3, "page")
    assert isinstance(p50, Ratio) and (p50.target, p50.source.within_s, p50.severity) == (0.5, 0.05, "ticket")
    assert isinstance(success, Ratio) and (success.target, success.severity) == (0.99, "page")
    assert {name for name, one in by_name.items() if isinstance(one, Zero)} == {"tokenization", "pii-leakage"}
    assert {name for name, one in by_name.items() if isinstance(one, Value)} == {"cost-per-1k-tokens"}
    assert {"time-to-first-token", "telemetry-completeness"} < set(by_name)


def test_windows_that_can_never_fire_for_an_objective_are_left_out(windows: Windows) -> None:
    objective = read_objective(SHIPPED / "token-latency-p50.yaml", windows)
    assert isinstance(objective, Ratio)
    usable, left_out = windows.of(objective)
    assert [one.name for one in usable] == ["three-days"]
    assert [one.name for one in left_out] == ["day"]


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("spec/objectives/0/target", 1.0, "spec.objectives[0].target: must be a number < 1"),
        ("spec/objectives/0/target", 0.999, None),
        (f"{GOOD}/within_s", 0.25, "within_s must be an edge of the metric's buckets (0.01, 0.025"),
        (f"{GOOD}/within_s", None, "but is missing"),
        (f"{GOOD}/events", "smiles", "must be one of 'inter_token_latency'"),
        (f"{TOTAL}/events", "requests", "must count the same events, inter_token_latency"),
        ("spec/indicator/spec/ratioMetric", None, "must have ratioMetric alone for an objective with target"),
        ("metadata/annotations/calmops.dev/team", "", None),
        ("metadata/name", "Token Latency", "small letters, digits and -"),
        ("metadata/owner", "me", "one.yaml:12: metadata.owner: is not a setting"),
        ("spec/timeWindow/0/duration", "a month", "a whole number with its unit"),
        ("spec/timeWindow/0/isRolling", False, "calendar periods aren't supported"),
        ("spec/budgetingMethod", "Timeslices", "every event weighs the same"),
        ("apiVersion", "calmops/v1", "must be openslo/v1 for an objective with target, got calmops/v1"),
        ("apiVersion", "openslo/v2", "openslo/v1 for a target"),
    ],
)
def test_a_document_that_cant_be_kept_is_refused(
    tmp_path: Path, windows: Windows, where: str, value: Any, message: str | None
) -> None:
    tree = document()
    if where.startswith("metadata/annotations/"):
        tree["metadata"]["annotations"][where.removeprefix("metadata/annotations/")] = value
        message = "Expected `str` of length >= 1"
    else:
        change(tree, where, value)
    path = write(tmp_path, tree)
    if message is None:
        read_objective(path, windows)
        return
    with pytest.raises(ConfigError) as refused:
        read_objective(path, windows)
    assert message.replace("`", "") in str(refused.value)
    assert "one.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "must have target, or most, or op, value and lasting, got none of them"),
        ({"target": 0.9, "most": 0}, "got target, most"),
        ({"op": "lt", "value": 1.0}, "got op, value"),
        ({"most": 1}, "0: no bad event"),
    ],
)
def test_a_goal_is_one_of_three_kinds(tmp_path: Path, windows: Windows, goal: dict[str, Any], message: str) -> None:
    tree = document()
    tree["spec"]["objectives"] = [goal]
    with pytest.raises(ConfigError, match="objectives") as refused:
        read_objective(write(tmp_path, tree), windows)
    assert message in str(refused.value)


def test_an_objective_for_which_no_window_can_fire_is_refused(tmp_path: Path, windows: Windows) -> None:
    tree = document("token-latency-p50")
    change(tree, "spec/objectives/0/target", 0.000001)
    assert isinstance(read_objective(write(tmp_path, tree), windows), Ratio)
    steep = Windows(windows=tuple(one for one in windows.windows if one.factor >= 3), at_risk=windows.at_risk)
    with pytest.raises(ConfigError, match=r"day needs 3 x 0\.5 < 1"):
        read_objective(SHIPPED / "token-latency-p50.yaml", steep)


def test_a_shared_alert_is_refused_and_all_problems_are_reported_at_once(tmp_path: Path, windows: Windows) -> None:
    write(tmp_path, document(), "a.yaml")
    write(tmp_path, document(), "b.yaml")
    write(tmp_path, "kind: [", "c.yaml")
    with pytest.raises(ConfigError) as refused:
        read_objectives(tmp_path, windows)
    assert "c.yaml:1: isn't YAML" in str(refused.value)
    assert "b.yaml: metadata: the alert TokenLatencyP99High is a.yaml's" in str(refused.value)


def test_a_folder_without_objectives_is_refused(tmp_path: Path, windows: Windows) -> None:
    with pytest.raises(ConfigError, match="holds no objective"):
        read_objectives(tmp_path, windows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "windows: [{name: a, severity: page, long: 5m, short: 1h, factor: 2}]",
            "must be shorter than long (5m), got 1h",
        ),
        (
            "windows: [{name: a, severity: page, long: soon, short: 1h, factor: 2}]",
            "windows[0].long: 'soon' is not a span",
        ),
        ("windows: [{name: a, severity: shout, long: 1h, short: 5m, factor: 2}]", "page or ticket"),
        (
            "windows: [{name: a, severity: ticket, long: 1h, short: 5m, factor: 2, only_at_risk: true}]",
            "windows[0].only_at_risk: goes with severity page alone",
        ),
        ("windows: []", "must have at least one entry"),
    ],
)
def test_windows_that_make_no_sense_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, f"{text}\nat_risk: {{left: 0.5, ends_within: 3d}}\n", "windows.yaml")
    with pytest.raises(ConfigError) as refused:
        read_windows(path)
    assert message in str(refused.value) and "windows.yaml" in str(refused.value)
