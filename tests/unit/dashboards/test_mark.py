"""Shows what `calmops dashboards mark` writes and refuses, through the real command line and client, against a fake."""

import json

import pytest

from tests.support.grafana.fake_grafana import VIEWER, FakeGrafana
from tests.support.grafana.typed_pushes import DASHBOARDS, Run


def test_a_deploy_is_a_moment_that_the_dashboards_query(run: Run, grafana: FakeGrafana) -> None:
    output = run("dashboards", "mark", "deploy", "stdlib-5m 2")
    assert output.status == 0 and "marked in" in output.out
    (mark,) = grafana.annotations
    assert mark["tags"] == ["calmops", "deploy"] and mark["text"] == "stdlib-5m 2" and "timeEnd" not in mark
    assert run(*DASHBOARDS).status == 0
    queries = grafana.dashboards["calmops-on-call"]["dashboard"]["annotations"]["list"]
    assert [one["target"]["tags"] for one in queries] == [["calmops", "deploy"], ["calmops", "game-day"]]


def test_a_game_day_is_a_span_of_time(run: Run, grafana: FakeGrafana) -> None:
    span = ("--from", "2026-11-26T14:00:00Z", "--to", "2026-11-26T16:30:00+01:00")
    output = run("dashboards", "mark", "game-day", "gangs die", *span, "--json")
    assert json.loads(output.out)["kind"] == "game-day"
    assert (grafana.annotations[0]["time"], grafana.annotations[0]["timeEnd"]) == (1795701600000, 1795707000000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("party", "x"), "'party' is no kind of mark; give one of: deploy, game-day"),
        (("deploy", " "), "the text of the mark is empty"),
        (("deploy", "x", "--from", "yesterday"), "--from 'yesterday' isn't a moment with a time zone"),
        (("deploy", "x", "--from", "2026-11-26T14:00:00"), "isn't a moment with a time zone"),
        (("game-day", "x", "--from", "2026-11-26T14:00:00Z", "--to", "2026-11-26T13:00:00Z"), "lies before"),
    ],
)
def test_an_invalid_mark_is_refused_before_grafana_is_called(
    run: Run, grafana: FakeGrafana, arguments: tuple[str, ...], message: str
) -> None:
    output = run("dashboards", "mark", *arguments)
    assert output.status == 2 and message in output.err
    assert not grafana.calls


def test_a_token_without_permission_is_refused_by_name_of_the_permission(
    run: Run, grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", VIEWER)
    output = run("dashboards", "mark", "deploy", "x")
    assert output.status != 0 and "annotations:create" in output.err
    assert not grafana.annotations
