import json
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

import calmops
from calmops.cli import main as main_module
from calmops.cli.commands import setup
from calmops.cli.main import build, main, refuse_foreign_packages
from calmops.foundation import config
from calmops.foundation.errors import CalmopsError, ConfigError, ReleaseError, SetupError, UnavailableError
from calmops.foundation.release import verify
from calmops.training.training_options import TrainingOptions
from tests.support.fake_platform import FakePlatform, last_event, refused, text_event

Invoke = Callable[..., Result]


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePlatform:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config.CONFIG_VARIABLE, raising=False)
    monkeypatch.setattr(main_module, "entry_points", lambda **_: [])
    monkeypatch.setattr("time.sleep", lambda _: None)
    return FakePlatform()


@pytest.fixture
def invoke(platform: FakePlatform) -> Invoke:
    app = build(platform.connect)

    def call(*arguments: str, **named: Any) -> Result:
        return CliRunner().invoke(app, arguments, **named)

    return call


def test_every_command_explains_itself(invoke: Invoke) -> None:
    shown = invoke("--help").output
    for command in (
        "setup",
        "status",
        "chat",
        "requests",
        "cancel",
        "drain",
        "disable",
        "enable",
        "config",
        "pin",
        "train",
        "bench",
    ):
        assert f"  {command} " in shown
        assert invoke(command, "--help").exit_code == 0


def test_the_version_is_that_of_the_package(invoke: Invoke) -> None:
    assert invoke("--version").output.strip() == calmops.__version__


OPERATIONS = {
    "cancel": (("cancel", "a/b"), "/admin/requests/a%2Fb/cancel", "a/b: cancelled"),
    "drain": (("drain", "r1"), "/admin/replicas/r1/drain", "r1: draining"),
    "drain undone": (("drain", "r1", "--undo"), "/admin/replicas/r1/drain?undo=true", "r1: takes new requests again"),
    "disable": (("disable", "m"), "/admin/models/m/disable", "m: disabled"),
    "disable undone": (("disable", "m", "--undo"), "/admin/models/m/enable", "m: enabled"),
    "enable": (("enable", "m"), "/admin/models/m/enable", "m: enabled"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operators_command_is_one_call(operation: str, invoke: Invoke, platform: FakePlatform) -> None:
    arguments, path, message = OPERATIONS[operation]
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert result.output.strip() == message
    assert platform.calls == [("POST", path)]
    assert json.loads(invoke(*arguments, "--json").output)["done"]


def test_requests_are_listed_for_people_and_for_machines(invoke: Invoke) -> None:
    shown = invoke("requests")
    assert "q1" in shown.output
    assert "no answer in time from gateway g2" in shown.stderr
    assert json.loads(invoke("requests", "--json").stdout)["requests"][0]["request_id"] == "q1"


def test_status_shows_gangs_ranks_and_rates(invoke: Invoke) -> None:
    shown = invoke("status").output
    for expected in (
        "r1",
        "41, 42",
        "serving",
        "5/512",
        "disabled: other",
        "2 migration(s)",
        "1 gateway(s)",
        "no answer from g2",
    ):
        assert expected in shown
    figures = json.loads(invoke("status", "--json").output)["figures"][0]
    assert figures["model"] == "stdlib-5m"
    assert figures["tokens_per_s"] > 0
    assert figures["over"] == "window"
    assert 0 < figures["itl_p50_ms"] <= 25


def test_a_chat_answer_is_streamed_and_its_latency_shown(invoke: Invoke, platform: FakePlatform) -> None:
    result = invoke("chat", "--message", "hi", "--seed", "7")
    assert result.exit_code == 0
    assert result.stdout == "Hello\n"
    assert "2 tokens, stop" in result.stderr
    assert platform.bodies[0]["seed"] == 7
    assert platform.bodies[0]["messages"] == [{"role": "user", "content": "hi"}]


def test_a_conversation_sends_what_was_said_before(invoke: Invoke, platform: FakePlatform) -> None:
    result = invoke("chat", "--system", "be brief", "--json", input="one\ntwo\n")
    assert result.exit_code == 0
    assert [message["content"] for message in platform.bodies[1]["messages"]] == ["be brief", "one", "Hello", "two"]


STREAMS = {
    "an error event": ([text_event("x"), 'data: {"error": {"message": "no replica is left"}}'], "no replica is left"),
    "a stream cut short": ([text_event("x")], r"without \[DONE\]"),
    "something that isn't JSON": (["data: {oops"], "isn't JSON"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_ends_badly_is_an_error(case: str, invoke: Invoke, platform: FakePlatform) -> None:
    platform.stream, message = STREAMS[case]
    with pytest.raises(CalmopsError, match=message):
        invoke("chat", "--message", "hi", catch_exceptions=False)


def test_bench_reports_what_its_clients_saw(invoke: Invoke, platform: FakePlatform) -> None:
    result = invoke("bench", "-n", "5", "-c", "2", "--max-tokens", "8", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (report["completed"], report["failed"], report["tokens"], report["prompt_tokens"]) == (5, 0, 10, 20)
    assert report["ttft"]["measured"] == 5
    assert report["inter_token"]["measured"] == 5
    assert len({body["prompt"] for body in platform.bodies}) == 5
    assert "tok/s" in invoke("bench", "-n", "1").output


def test_bench_counts_errors_and_fails(invoke: Invoke, platform: FakePlatform) -> None:
    platform.stream = [text_event("x")]
    result = invoke("bench", "-n", "3", "-m", "stdlib-5m", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["errors"] == {"cut short: no [DONE]": 3}
    platform.refusal = refused(429, "too many")
    assert json.loads(invoke("bench", "-n", "3", "-m", "stdlib-5m", "--json").stdout)["errors"] == {"HTTP 429": 3}


def test_a_refusal_carries_the_servers_words(invoke: Invoke, platform: FakePlatform) -> None:
    platform.refusal = refused(404, "no live request 'x'")
    with pytest.raises(CalmopsError, match="404: no live request 'x'"):
        invoke("cancel", "x", catch_exceptions=False)
    platform.refusal = refused(503, "no healthy replica")
    with pytest.raises(UnavailableError, match="no healthy replica"):
        invoke("chat", "--message", "x", catch_exceptions=False)
    platform.refusal = httpx.Response(502, text="<html>")
    with pytest.raises(CalmopsError, match="502: <html>"):
        invoke("requests", catch_exceptions=False)


def test_an_answer_without_text_has_no_latency(invoke: Invoke, platform: FakePlatform) -> None:
    platform.stream = [last_event("stop", 0), "data: [DONE]"]
    answer = json.loads(invoke("chat", "--message", "x", "--json").stdout)
    assert (answer["text"], answer["ttft_ms"], answer["itl_p50_ms"]) == ("", None, None)


def test_config_commands_check_show_and_print_the_schema(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "calmops.yaml").write_text("http: {port: 9000}")
    assert "valid; serves stdlib-5m" in invoke("config", "check").output
    assert json.loads(invoke("config", "show", "--json").output)["http"]["port"] == 9000
    assert "port: 9000" in invoke("config", "show").output
    assert json.loads(invoke("config", "schema").output) == config.json_schema()
    (tmp_path / "calmops.yaml").write_text("http: {port: 0}")
    with pytest.raises(ConfigError, match=r"calmops.yaml:1: http\.port"):
        invoke("config", "check", catch_exceptions=False)


def test_setup_names_what_is_ready(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(setup.ACTIONS, setup.Part.kafka, ("Fetching", lambda: "/somewhere"))
    assert "kafka: ready (/somewhere)" in invoke("setup", "kafka").output
    assert invoke("setup", "moon").exit_code == 2


def test_the_command_line_describes_a_training_run(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figures = {"parameters": 1000, "tokens_seen": 2048, "bits_per_byte": 1.2, "ngram_bits_per_byte": 1.5}
    runs: list[tuple[str, TrainingOptions]] = []

    def run(name: str, options: TrainingOptions) -> dict[str, float]:
        runs.append((name, options))
        return figures

    # The real module loads torch.
    training = SimpleNamespace(train=partial(run, "train"), release_now=partial(run, "release_now"))
    monkeypatch.setitem(sys.modules, "calmops.training.train", training)
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path))
    sizes = ("--steps", "50", "--batch-tokens", "4096")
    shown = invoke("train", "--corpus", "books", "--release", "mine", *sizes).output
    assert "mine: 1000 parameters, 2048 tokens seen; 1.200 bits per byte" in shown
    assert json.loads(invoke("train", "--work", "w", "--release-now", "--json").output) == figures
    work = tmp_path / "training" / "mine"
    given = TrainingOptions(work=work, release=Path("mine"), corpus=Path("books"), steps=50, batch_tokens=4096)
    assert runs == [
        ("train", given),
        ("release_now", TrainingOptions(work=Path("w"), release=Path("release"))),
    ]


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["calmops", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_an_error_is_one_message_and_an_exit_code(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "calmops.yaml").write_text("http: {prt: 0}")
    assert platform.calls == []
    assert run_main(monkeypatch, "config", "check") == ConfigError.exit_code == 2
    assert capsys.readouterr().err == "calmops: calmops.yaml:1: http.prt: is not a setting; did you mean port?\n"
    assert run_main(monkeypatch, "moon") == 2
    assert run_main(monkeypatch, "config", "schema") == 0


def test_outer_packages_bring_their_own_commands(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("outer", "tests.unit.calmops.cli.outer:commands", main_module.GROUP)
    monkeypatch.setattr(main_module, "entry_points", lambda **_: [point])
    monkeypatch.setitem(sys.modules, "tests.unit.calmops.cli.outer", type(sys)("outer"))
    sys.modules["tests.unit.calmops.cli.outer"].commands = lambda app: app.command("hello")(lambda: typer.echo("hi"))  # type: ignore[attr-defined]
    assert CliRunner().invoke(build(platform.connect), ["hello"]).output == "hi\n"


def test_a_foreign_package_in_place_of_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("ours", "theirs"):
        (tmp_path / place / "chaos").mkdir(parents=True)
        (tmp_path / place / "chaos" / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "theirs"), *sys.path])
    monkeypatch.delitem(sys.modules, "chaos", raising=False)
    with pytest.raises(SetupError, match="theirs"):
        refuse_foreign_packages(tmp_path / "ours")
    refuse_foreign_packages(tmp_path / "theirs")


def test_pin_writes_what_a_served_checkpoint_is_compared_with(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "notes.txt"):
        (folder / name).write_text(name)
    result = invoke("pin", "my-model")
    assert result.exit_code == 0 and "pins 3 files of my-model" in result.output
    assert set(verify(folder).files) == {"config.json", "model.safetensors", "tokenizer.json"}
    (folder / "tokenizer.json").write_text("another")
    with pytest.raises(ReleaseError, match=r"tokenizer\.json: expected sha256"):
        verify(folder)
    assert json.loads(invoke("pin", "my-model", "--name", "mine", "--json").output)["name"] == "mine"
    assert verify(folder).name == "mine"


def test_pin_refuses_what_could_not_be_served(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    for name, message in (("half", "half lacks *.safetensors, tokenizer.json"), ("typo", "typo is not a folder")):
        refusal = invoke("pin", name).exception
        assert isinstance(refusal, ReleaseError) and message in str(refusal)
    assert not (tmp_path / "half" / "release.json").exists()
    with pytest.raises(ReleaseError, match=r"write it with `calmops pin .*half`"):
        verify(tmp_path / "half")
