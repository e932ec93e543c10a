"""`calmops dashboards mark`, through the real command line and client, against the contract fake."""

import json

import pytest

from tests.support.grafana.fake_grafana import VIEWER, FakeGrafana
from tests.support.grafana.typed_pushes import DASHBOARDS, Run


def test_a_deploy_is_a_moment_that_the_dashboards_ask_for(run: Run, grafana: FakeGrafana) -> None:
    said = run("dashboards", "mark", "deploy", "stdlib-5m 2")
    assert said.status == 0 and "marked in" in said.out
    (marked,) = grafana.annotations
    assert marked["tags"] == ["calmops", "deploy"] and marked["text"] == "stdlib-5m 2" and "timeEnd" not in marked
    assert run(*DASHBOARDS).status == 0
    asked = grafana.dashboards["calmops-on-call"]["dashboard"]["annotations"]["list"]
    assert [one["target"]["tags"] for one in asked] == [["calmops", "deploy"], ["calmops", "game-day"]]


def test_a_game_day_is_a_stretch_of_time(run: Run, grafana: FakeGrafana) -> None:
    said = run(
        "dashboards",
        "mark",
        "game-day",
        "gangs die",
        "--from",
        "2026-11-26T14:00:00Z",
        "--to",
        "2026-11-26T16:30:00+01:00",
        "--json",
    )
    assert json.loads(said.out)["kind"] == "game-day"
    assert (grafana.annotations[0]["time"], grafana.annotations[0]["timeEnd"]) == (1795701600000, 1795707000000)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("party", "x"), "'party' is no kind of mark; give one of: deploy, game-day"),
        (("deploy", " "), "the text of the mark is empty"),
        (("deploy", "x", "--from", "yesterday"), "--from 'yesterday' isn't a moment with a time zone"),
        (("deploy", "x", "--from", "2026-11-26T14:00:00"), "isn't a moment with a time zone"),
        (("game-day", "x", "--from", "2026-11-26T14:00:00Z", "--to", "2026-11-26T13:00:00Z"), "lies before"),
    ],
)
def test_what_cant_be_a_mark_is_refused_before_grafana_is_asked(
    run: Run, grafana: FakeGrafana, arguments: tuple[str, ...], told: str
) -> None:
    said = run("dashboards", "mark", *arguments)
    assert said.status == 2 and told in said.err
    assert not grafana.calls


def test_a_token_that_may_not_is_told_so(run: Run, grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", VIEWER)
    said = run("dashboards", "mark", "deploy", "x")
    assert said.status != 0 and "annotations:create" in said.err
    assert not grafana.annotations
