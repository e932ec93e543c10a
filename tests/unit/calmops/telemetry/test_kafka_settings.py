"""Kafka settings: what can't work is named with its remedy before a thread starts."""

import msgspec
import pytest

from calmops.foundation.errors import ConfigError
from calmops.telemetry.settings import KafkaSettings

GOOD = KafkaSettings(bootstrap_servers="a:9092, b:9093")
SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"}


def test_several_servers_may_be_given() -> None:
    GOOD.check()
    assert GOOD.servers() == ["a:9092", "b:9093"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bootstrap_servers": "broker"}, "'broker' is not host:port"),
        ({"bootstrap_servers": "a:9092,:1"}, "':1' is not host:port"),
        ({"security_protocol": "TLS"}, "'TLS' is none of PLAINTEXT, SSL"),
        ({**SASL, "sasl_mechanism": None}, "None is none of PLAIN, SCRAM-SHA-256"),
        ({**SASL, "sasl_password": None}, "both are needed with SASL"),
        ({"partitions": 0}, "partitions: 0 is below 1"),
        ({"in_flight_records": 0}, "in_flight_records: 0 is below 1"),
    ],
)
def test_a_setting_that_cannot_work_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        msgspec.structs.replace(GOOD, **changes).check()


def test_sasl_with_all_it_needs_is_accepted() -> None:
    msgspec.structs.replace(GOOD, **SASL).check()
