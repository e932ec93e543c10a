"""Tests calmops.yaml: where it is found, what is refused in which words, its secrets, its schema and old names."""

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calmops.foundation import config
from calmops.foundation.config import Config
from calmops.foundation.config_sections import (
    ADMIN_TOKEN_VARIABLE,
    KAFKA_PASSWORD_VARIABLE,
    SHIPPED_MODEL,
    HttpConfig,
    KafkaConfig,
    ModelConfig,
)
from calmops.foundation.errors import ConfigError

ROOT = Path(__file__).resolve().parents[4]
SASL = "kafka: {bootstrap_servers: 'a:1', security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: me"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (config.CONFIG_VARIABLE, ADMIN_TOKEN_VARIABLE, KAFKA_PASSWORD_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def written(folder: Path, text: str) -> Path:
    path = folder / "calmops.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        config.load(written(folder, text))
    return str(raised.value).splitlines()


def test_with_no_file_at_all_the_shipped_model_is_served() -> None:
    loaded = config.load()
    assert loaded == Config()
    assert [model.name for model in loaded.models] == [SHIPPED_MODEL]
    assert loaded.http.host == "127.0.0.1"


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, "# nothing yet\n")) == Config()


def test_the_file_in_the_current_folder_is_found(tmp_path: Path) -> None:
    written(tmp_path, "http: {port: 9000}")
    assert config.load().http.port == 9000


def test_a_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "other.yaml"
    elsewhere.write_text("http: {port: 9001}")
    monkeypatch.setenv(config.CONFIG_VARIABLE, str(elsewhere))
    assert config.load().http.port == 9001


REFUSED = {
    "a value out of bounds names limit, value and remedy": (
        "models:\n- name: m\n  path: p\n  tp: 0\n",
        ["calmops.yaml:4: models[0].tp: must be a whole number >= 1, got 0; ranks that share one replica's weights"],
    ),
    "a wrong type is refused in plain words": (
        "http:\n  port: eight\n",
        ["calmops.yaml:2: http.port: must be a whole number, got 'eight'; TCP port of the API"],
    ),
    "a wrong choice is answered with the choices": (
        "models:\n- dtype: float16\n",
        [
            (
                "calmops.yaml:2: models[0].dtype: must be one of 'bfloat16', 'float32', got 'float16'; "
                "type of weights and cache"
            )
        ],
    ),
    "an unknown setting is answered with the nearest name": (
        "models:\n- replica: 2\n",
        ["calmops.yaml:2: models[0].replica: is not a setting; did you mean replicas?"],
    ),
    "an unknown setting that resembles none is answered with all names": (
        "zzz: 1\n",
        [
            (
                "calmops.yaml:1: zzz: is not a setting; known: models, environment, http, telemetry, kafka, limits, "
                "retention, failover, objectives, tracing, capture, grafana, vllm_names"
            )
        ],
    ),
    "a secret in the file is refused": (
        "kafka:\n  bootstrap_servers: a:1\n  sasl_password: x\n",
        [
            (
                "calmops.yaml:3: kafka.sasl_password: secrets are not written here; "
                "put it in a file and name it by sasl_password_file"
            )
        ],
    ),
    "a key given twice is refused": (
        "http:\n  port: 1\n  port: 2\n",
        ["calmops.yaml:3: http.port: is given twice; keep one"],
    ),
    "a list where settings belong": (
        "http:\n- 1\n",
        ["calmops.yaml:1: http: must hold settings (`key: value`), got a list; indent them below it"],
    ),
    "no models": (
        "models: []\n",
        ["calmops.yaml:1: models: must have at least one entry, got none; the models served, the first is the default"],
    ),
    "text that isn't settings": ("hello\n", ["calmops.yaml:1: must hold settings (`key: value`), got 'hello'"]),
    "broken YAML": (
        "http: {port: 1\nmodels: [\n",
        ["calmops.yaml:2: isn't YAML: expected ',' or '}', but got ':'; check indentation and quotes"],
    ),
    "settings that need telemetry, and telemetry off": (
        "telemetry: false\nkafka: {bootstrap_servers: 'a:1'}\nvllm_names: true\n",
        [
            "calmops.yaml:2: kafka: needs telemetry, which is off; leave it out, or set telemetry: true",
            "calmops.yaml:3: vllm_names: needs telemetry, which is off; leave it out, or set telemetry: true",
        ],
    ),
    "a missing setting that has no default": (
        "http: {}\nkafka:\n  topic: t\n",
        ["calmops.yaml:2: kafka.bootstrap_servers: is missing; the brokers, as host:port[,host:port]"],
    ),
    "a model that isn't the shipped one needs a path": (
        "models:\n- tp: 1\n- name: mine\n",
        [
            (
                "calmops.yaml:3: models[1].name: 'mine' has no path; "
                "set path to a checkpoint folder, or name it 'stdlib-5m' to serve the shipped model"
            )
        ],
    ),
    "a name used twice": (
        "models:\n- tp: 1\n- tp: 2\n",
        ["calmops.yaml:3: models[1].name: 'stdlib-5m' is used twice; give each model a name of its own"],
    ),
    "an address that others can reach needs insecure": (
        "http:\n  host: 0.0.0.0\n",
        ["calmops.yaml:2: http.host: '0.0.0.0' can be reached by others; set http.insecure: true or 127.0.0.1"],
    ),
    "an address that others can reach needs an operator's token": (
        "http:\n  host: 0.0.0.0\n  insecure: true\n",
        [
            (
                "calmops.yaml:1: http.admin_token_file: is needed with http.host '0.0.0.0' (it guards /admin/*); "
                "set it, or the variable CALMOPS_ADMIN_TOKEN"
            )
        ],
    ),
    "SASL needs its password": (
        SASL + "}",
        ["calmops.yaml:1: kafka.sasl_password_file: is needed with SASL_SSL; set it"],
    ),
    "all problems come at once, in the file's order": (
        "http:\n  prt: 1\nmodels:\n- tp: 0\n  kv_blocks: 1\n",
        [
            "calmops.yaml:2: http.prt: is not a setting; did you mean port?",
            "calmops.yaml:4: models[0].tp: must be a whole number >= 1, got 0; ranks that share one replica's weights",
            (
                "calmops.yaml:5: models[0].kv_blocks: must be a whole number >= 4, got 1; "
                "size of one replica's KV cache, in blocks of 16 tokens; it never grows"
            ),
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_file_is_refused_with_these_messages(case: str, tmp_path: Path) -> None:
    text, expected = REFUSED[case]
    assert problems(tmp_path, text) == expected


def test_a_missing_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*--config"):
        config.load(tmp_path / "nowhere.yaml")


def test_paths_are_relative_to_the_folder_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "models: [{name: mine, path: weights}]\nhttp: {admin_token_file: token}")
    (tmp_path / "token").write_text("s3cret\nignored\n")
    monkeypatch.chdir("/")
    loaded = config.load(path)
    assert loaded.models[0].path == str(tmp_path / "weights")
    assert config.admin_token(loaded) == "s3cret"


def test_a_secret_comes_from_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KAFKA_PASSWORD_VARIABLE, "from outside")
    assert config.kafka_password(config.load(written(tmp_path, SASL + "}"))) == "from outside"


def test_a_secret_file_that_is_empty_or_gone_is_named(tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, SASL + ", sasl_password_file: pw}"))
    with pytest.raises(ConfigError, match=r"kafka\.sasl_password_file: can't read"):
        config.kafka_password(loaded)
    (tmp_path / "pw").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        config.kafka_password(loaded)


def test_the_configuration_as_json_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2")
    loaded = config.load(written(tmp_path, SASL + ", sasl_password_file: pw}"))
    assert "hunter2" not in json.dumps(config.to_json(loaded))


models = st.builds(
    ModelConfig,
    name=st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z"), path=st.just("/weights"), tp=st.integers(1, 8),
    replicas=st.integers(1, 9), exact=st.booleans(), kv_blocks=st.integers(4, 10**6),
)  # fmt: skip


@given(st.lists(models, min_size=1, max_size=3, unique_by=lambda model: model.name))
def test_a_configuration_is_the_same_after_json_and_valid_by_its_own_schema(given_models: list[ModelConfig]) -> None:
    before = Config(models=tuple(given_models))
    tree: dict[str, Any] = json.loads(json.dumps(config.to_json(before)))
    assert config.from_json(tree) == before
    jsonschema.validate(tree, config.json_schema())


def test_plain_values_that_are_no_configuration_are_refused() -> None:
    with pytest.raises(ConfigError, match="config show"):
        config.from_json({"http": {"port": 0}})


def test_the_published_schema_equals_the_one_that_the_code_makes() -> None:
    published = json.loads((ROOT / "platform" / "deploy" / "calmops.schema.json").read_text())
    assert published == config.json_schema(), "`make gen` writes it"


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    for text, _ in (REFUSED["a value out of bounds names limit, value and remedy"], REFUSED["no models"]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), config.json_schema())


def test_an_old_name_of_a_setting_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = config.load(written(tmp_path, "limits:\n  max_waiting: 7\n"))
    assert loaded.limits.max_requests == 7
    assert caplog.messages == [
        "calmops.yaml:2: limits.max_waiting is now called limits.max_requests; the old name is read for one release"
    ]
    assert config.from_json({"limits": {"max_waiting": 8}}).limits.max_requests == 8


def test_a_setting_given_under_both_names_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "limits: {max_waiting: 7, max_requests: 8}")
    assert "limits.max_waiting" in problem


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_the_api_s_address_is_one_that_a_client_can_use(host: str, url: str) -> None:
    assert config.api_url(Config(http=HttpConfig(host=host))) == url
    assert httpx.URL(config.api_url(Config(http=HttpConfig(host=host)))).port == 8000


@pytest.mark.parametrize("servers", ["broker", "a:9092,:1", "a:9092, b"])
def test_a_broker_that_is_not_host_and_port_is_refused(tmp_path: Path, servers: str) -> None:
    (problem,) = problems(tmp_path, f"kafka: {{bootstrap_servers: '{servers}'}}")
    assert "is not host:port" in problem
    assert KafkaConfig(bootstrap_servers="a:9092, b:9093").servers() == ["a:9092", "b:9093"]
