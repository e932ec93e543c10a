"""A change of the configuration concerns only some applications."""

from pathlib import Path

import msgspec
import pytest

import calmops
from actors.launch.deploy_digest import deploy_digests
from calmops.foundation.config import Config
from calmops.foundation.config_sections import FailoverConfig, HttpConfig, LimitsConfig, ModelConfig, RetentionConfig

RELEASE = Path(calmops.__file__).parent / "models" / "stdlib-5m"
BOTH = Config(models=(ModelConfig(name="stdlib-5m"), ModelConfig(name="other", path=str(RELEASE))))
MODELS = {"model-stdlib-5m", "model-other"}


def changed(config: Config, variables: dict[str, str] | None = None) -> set[str]:
    before, after = deploy_digests(BOTH, {}), deploy_digests(config, variables or {})
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BOTH, set()),
        (
            msgspec.structs.replace(
                BOTH, models=(msgspec.structs.replace(BOTH.models[0], kv_blocks=960), BOTH.models[1])
            ),
            {"model-stdlib-5m"},
        ),
        (msgspec.structs.replace(BOTH, http=HttpConfig(gateways=2)), {"gateway"}),
        (msgspec.structs.replace(BOTH, retention=RetentionConfig(spool_age_s=60.0)), {"gateway", "telemetry"}),
        (msgspec.structs.replace(BOTH, limits=LimitsConfig(max_requests=7)), {"gateway", *MODELS}),
        (msgspec.structs.replace(BOTH, vllm_names=True), {"telemetry"}),
        (msgspec.structs.replace(BOTH, failover=FailoverConfig(stall_s=2.0)), {"gateway", *MODELS}),
    ],
    ids=["nothing", "one model's cache", "gateways", "the spool", "limits", "vLLM's names", "failover"],
)
def test_a_change_concerns_only_what_is_made_of_it(config: Config, expected: set[str]) -> None:
    assert changed(config) == expected


def test_with_telemetry_off_there_is_no_meter_and_another_gateway() -> None:
    on, off = deploy_digests(BOTH, {}), deploy_digests(msgspec.structs.replace(BOTH, telemetry=False), {})
    assert on.keys() - off.keys() == {"telemetry"}
    assert {name for name in off if on[name] != off[name]} == {"gateway"}


def test_another_token_concerns_the_gateway_which_reads_it_at_its_start(tmp_path: Path) -> None:
    file = tmp_path / "token"
    guarded = msgspec.structs.replace(BOTH, http=HttpConfig(admin_token_file=str(file)))
    digests = []
    for token in ("one", "two"):
        file.write_text(token)
        digests.append(deploy_digests(guarded, {}))
    before, after = digests
    assert {name for name in before if before[name] != after[name]} == {"gateway"}


def test_variables_that_every_process_is_started_with_concern_all() -> None:
    assert changed(BOTH, {"RAY_SERVE_HAPROXY_NBTHREAD": "2"}) == {"gateway", "telemetry", *MODELS}
