"""Shows that a failed push says what failed, where, what Grafana answered and what to do, without a traceback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import dashboards.grafana.client
from tests.support.grafana.fake_answers import Answer
from tests.support.grafana.fake_grafana import ADMIN, EDITOR, VIEWER, FakeGrafana
from tests.support.grafana.typed_pushes import ALERTS, DASHBOARDS, SHIPPED, Output, Run

PATHS = {"PYTHONPATH": os.pathsep.join((str(SHIPPED.parent), str(SHIPPED.parent / "platform")))}
BOTH = pytest.mark.parametrize("command", [DASHBOARDS, ALERTS], ids=["dashboards", "alerts"])


def refused(output: Output, status: int, *words: str) -> None:
    """Assert that a push failed with one line that has all the words, and nothing of the code behind it."""
    assert output.status == status, output
    assert output.err.startswith("calmops: ") and output.err.count("\n") == 1
    assert "Traceback" not in output.err and "object at 0x" not in output.err and ADMIN not in output.err
    for word in words:
        assert word in output.err, output.err


@BOTH
def test_a_wrong_token_is_refused_with_a_remedy(
    command: tuple[str, ...], run: Run, grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "glsa_wrong")
    refused(run(*command), 2, grafana.url, "says: Invalid API key (401)", "service account's token", "--token-file")
    assert grafana.writes() == []


MISSING = {
    "may only read": (DASHBOARDS, VIEWER, "folders:create"),
    "may write dashboards": (DASHBOARDS, EDITOR, "datasources:create"),
    "may write no alerts": (ALERTS[:2], EDITOR, "alert.provisioning:write"),
}


@pytest.mark.parametrize("role", MISSING)
def test_a_missing_permission_is_named_with_its_purpose(
    role: str, run: Run, grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, token, permission = MISSING[role]
    if command == ALERTS[:2]:
        run(*DASHBOARDS)  # an administrator creates folder and data source
    monkeypatch.setenv("GRAFANA_TOKEN", token)
    refused(
        run(*command),
        2,
        grafana.url,
        "asked to create ",
        f"Permissions needed: {permission} (403)",
        "service account that permission",
        "Admin for",
    )


def test_a_viewers_token_is_enough_for_a_dry_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", VIEWER)
    assert run(*DASHBOARDS, "--dry-run").status == 0
    assert run(*ALERTS, "--dry-run").status == 0


@BOTH
def test_an_address_where_nobody_answers_is_named(command: tuple[str, ...], run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else takes it; not listening, so that calls are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused(
            run(*command, "--url", url), 5, f"Grafana at {url} can't be reached", "Connection refused", "check --url"
        )


def test_a_grafana_that_answers_too_late_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboards.grafana.client, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused(run(*DASHBOARDS, "--url", url), 5, url, "didn't answer within 0.05 s")


STRANGERS = {
    "a page": (Answer(200, "<html>hello</html>"), "a page instead of JSON"),
    "a page that isn't there": (Answer(404, "<html>no</html>"), "status 404"),
    "another API": (Answer(200, {"status": "ok"}), "the answer isn't Grafana's"),
    "a redirect": (Answer(301, "https://elsewhere/login"), "a redirect to https://elsewhere/login"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_address_that_is_no_grafana_is_refused(stranger: str, run: Run, grafana: FakeGrafana) -> None:
    grafana.broken, reason = STRANGERS[stranger]
    refused(
        run(*DASHBOARDS),
        2,
        f"{grafana.url} doesn't answer as Grafana does ({reason})",
        "the path that it is served under",
    )


def test_the_path_that_grafana_is_served_under_is_kept(run: Run, grafana: FakeGrafana) -> None:
    refused(run(*DASHBOARDS, "--url", f"{grafana.url}/monitoring/"), 2, f"{grafana.url}/monitoring doesn't answer")
    assert grafana.calls == [("GET", "/monitoring/api/health")]


def test_a_failure_of_grafana_itself_is_reported(run: Run, grafana: FakeGrafana) -> None:
    grafana.broken = Answer(503, {"message": "database is locked"})
    refused(run(*DASHBOARDS), 5, grafana.url, "says: database is locked (503)", "its own log")


def test_a_grafana_that_is_too_old_is_refused_before_anything_is_sent(run: Run, grafana: FakeGrafana) -> None:
    grafana.version = "11.6.3"
    refused(run(*ALERTS), 2, "version 11.6.3", "12 or newer")
    assert grafana.calls == [("GET", "/api/health")]


def test_a_body_that_grafana_refuses_is_reported_in_grafanas_words(
    run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    rules = folder / "generated/prometheus-rules.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace("interval: 4m", "interval: 7s"), encoding="utf-8")
    output = run(*ALERTS, "--alerts", str(folder))
    refused(
        output,
        1,
        "create rule group calmops-long-spans",
        "divided exactly by scheduler interval: 10 (400)",
        "can be repeated",
    )
    assert {one["ruleGroup"] for one in grafana.alerting.rules.values()} == {"calmops-short-spans"}


def test_somebody_elses_data_source_with_our_name_is_reported(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    grafana.sources["other"] = grafana.sources.pop("calmops-prometheus") | {"uid": "other"}
    grafana.folders.clear()
    output = run(*DASHBOARDS)
    refused(output, 1, "create data source calmops-prometheus", "same name already exists (409)", "push again")
    assert "created: folder calmops" in output.out, "what was done before is reported"


def test_a_folder_that_somebody_changes_during_the_push_is_not_overwritten(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    grafana.folders["calmops"]["title"] = "theirs"
    grafana.meanwhile = lambda: grafana.folders["calmops"].update(version=9, title="theirs again")
    refused(run(*DASHBOARDS), 1, "update folder calmops", "changed by someone else (412)", "push again")
    assert grafana.folders["calmops"]["title"] == "theirs again"
    assert run(*DASHBOARDS).status == 0 and grafana.folders["calmops"]["title"] == "calmops"


def test_a_dashboard_that_somebody_creates_during_the_push_is_not_overwritten(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    theirs = grafana.dashboards.pop("calmops-debug") | {"meta": {"folderUid": "theirs"}}
    grafana.meanwhile = lambda: grafana.dashboards.update({"calmops-debug": theirs})
    refused(run(*DASHBOARDS), 1, "create dashboard calmops-debug", "same uid already exists (412)")
    assert grafana.dashboards["calmops-debug"] is theirs


def test_a_contact_point_that_is_still_in_use_is_reported(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    alerting = grafana.alerting
    alerting.contact_points["calmops-left"] = alerting.contact_points["calmops-safety"] | {
        "uid": "calmops-left",
        "name": "calmops-left",
    }
    alerting.rules["theirs"] = {
        "uid": "theirs",
        "title": "t",
        "folderUID": "f",
        "ruleGroup": "g",
        "notification_settings": {"receiver": "calmops-left"},
    }
    refused(run(*ALERTS), 1, "remove contact point calmops-left", "currently used", "(409)", "look at it in Grafana")


def test_a_push_without_a_prometheus_to_query_is_refused(run: Run, grafana: FakeGrafana) -> None:
    refused(run("dashboards", "push"), 2, "no data source of type prometheus", "--prometheus http://host:9090")
    refused(run("alerts", "push"), 2, "calmops-prometheus", "isn't there", "--prometheus http://host:9090")
    assert grafana.writes() == []


def test_an_existing_prometheus_can_be_named_and_stays_as_it_is(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    grafana.sources["own"] = grafana.sources.pop("calmops-prometheus") | {"uid": "own", "name": "own"}
    before = json.dumps(grafana.sources)
    refused(run("alerts", "push"), 2, "give --source with one of own")
    assert run("alerts", "push", "--source", "own").status == 0
    assert {one["data"][0]["datasourceUid"] for one in grafana.alerting.rules.values()} == {"own"}
    assert json.dumps(grafana.sources) == before
    refused(run(*ALERTS, "--source", "own"), 2, "give one of them")


def test_the_token_comes_from_a_file_or_the_environment_and_never_from_the_command_line(
    run: Run, grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GRAFANA_TOKEN")
    refused(run(*DASHBOARDS), 2, "no token is given", "GRAFANA_TOKEN", "--token-file")
    refused(run(*DASHBOARDS, "--token", "glsa_typed"), 2, "isn't given on the command line", "--token-file")
    file = tmp_path / "token"
    refused(run(*DASHBOARDS, "--token-file", str(file)), 2, f"can't read {file}")
    file.write_text("\n", encoding="utf-8")
    refused(run(*DASHBOARDS, "--token-file", str(file)), 2, f"{file} is empty")
    file.write_text("two words\n", encoding="utf-8")
    refused(run(*DASHBOARDS, "--token-file", str(file)), 2, "copy it from Grafana again")
    assert grafana.calls == []
    file.write_text(f"{ADMIN}\n", encoding="utf-8")
    assert run(*DASHBOARDS, "--token-file", str(file)).status == 0


WRONG = {
    "none": ("", "no Grafana is named; give --url"),
    "no scheme": ("localhost:3000", "--url 'localhost:3000' isn't an address"),
    "no host": ("http://", "isn't an address"),
    "a port that is no number": ("http://grafana:none", "isn't an address"),
    "a password": ("http://admin:admin@localhost:3000", "holds a name, a password"),
    "unverified": ("https://grafana/?verify=false", "give the plain address"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_an_invalid_address_is_refused(fault: str, run: Run) -> None:
    url, message = WRONG[fault]
    refused(run("dashboards", "push", "--url", url), 2, message)


BROKEN = {
    "no YAML": ("generated/prometheus-rules.yaml", "groups: [", "isn't as it was generated"),
    "no rules": (
        "generated/prometheus-rules.yaml",
        "groups: [{name: a, interval: soon, rules: []}]",
        "$.groups[0].interval",
    ),
    "two rules with one name": (
        "generated/prometheus-rules.yaml",
        "groups: [{name: a, interval: 30s, rules: [{alert: A, expr: x}, {alert: A, expr: y}]}]",
        "has two rules A (alert)",
    ),
    "no such receiver": (
        "generated/alertmanager.yaml",
        "route: {receiver: nobody, group_by: []}",
        "notifies nobody, not named in receivers.yaml",
    ),
    "no receivers": ("receivers.yaml", "receivers: []", "receivers.yaml:1: otherwise: is missing"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_folder_is_refused_before_grafana_is_called(
    fault: str, run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    file, text, message = BROKEN[fault]
    (folder / file).write_text(text, encoding="utf-8")
    output = run(*ALERTS, "--alerts", str(folder))
    assert output.status == 2 and message in output.err
    assert grafana.calls == []


def test_the_command_line_starts_without_grafanas_client_and_builders() -> None:
    code = "import sys, dashboards.commands; print(sorted(name for name in sys.modules if name.startswith('grafana')))"
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | PATHS)
    assert finished.stdout == "[]\n"
