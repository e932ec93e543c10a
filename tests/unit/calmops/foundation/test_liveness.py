"""Tests the table of bounds on silence: each bound exceeds those that it must exceed."""

import pytest

from calmops.foundation import liveness
from calmops.foundation.config import Config, contradictions, to_json
from calmops.foundation.config_sections import FailoverConfig
from calmops.foundation.liveness import ORDERS, broken


def test_every_bound_exceeds_what_it_must_at_the_default_settings() -> None:
    failover = FailoverConfig()
    assert broken(failover.stall_s, failover.no_replica_s) == []


def test_every_bound_in_seconds_takes_part_in_an_order() -> None:
    bounds = {name for name in vars(liveness) if name.endswith("_S")}
    assert bounds == {name for order in ORDERS for name in (order.larger, order.smaller) if name.endswith("_S")}


@pytest.mark.parametrize(
    ("failover", "setting"),
    [
        (FailoverConfig(stall_s=20.0), "failover.stall_s"),
        (FailoverConfig(no_replica_s=20.0), "failover.no_replica_s"),
    ],
)
def test_a_setting_that_breaks_an_order_is_refused(failover: FailoverConfig, setting: str) -> None:
    problems = contradictions(to_json(Config(failover=failover)))
    assert setting in {problem.where for problem in problems}
