"""Shows that each team gets its pages and tickets, and each escalation the pages that last."""

from pathlib import Path
from typing import Any

import pytest

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.objective import Source, Zero
from calmops.objectives.rules.alertmanager import alertmanager_file, read_receivers

ONE = Zero(
    name="one", title="One", says="It holds.", alert="OneBroken", severity="page", team="a", escalation="b",
    source=Source(events="tokenizations"),
)  # fmt: skip
FILE = """otherwise: a
escalate_after: 30m
receivers:
  - {name: a, webhook: "http://127.0.0.1:1/a"}
  - {name: b, webhook: "http://127.0.0.1:1/b"}
  - {name: observability, webhook: "http://127.0.0.1:1/o"}
  - {name: platform-lead, webhook: "http://127.0.0.1:1/p"}
"""


def routes(folder: Path) -> dict[str, Any]:
    path = folder / "receivers.yaml"
    path.write_text(FILE, encoding="utf-8")
    return alertmanager_file(read_receivers(path, [ONE]), [ONE])


def test_a_page_goes_to_its_team_at_once_and_to_its_escalation_if_it_lasts(tmp_path: Path) -> None:
    own = [one for one in routes(tmp_path)["route"]["routes"] if one["receiver"] in ("a", "b")]
    page, ticket, escalation = own
    assert (page["matchers"], page["group_wait"], page["continue"]) == (['severity="page"', 'team="a"'], "10s", True)
    assert ticket["matchers"] == ['severity="ticket"', 'team="a"']
    assert (escalation["receiver"], escalation["group_wait"]) == ("b", "30m")


def test_pages_are_grouped_by_version_and_environment_and_tickets_by_shard_too(tmp_path: Path) -> None:
    page, ticket, *_ = routes(tmp_path)["route"]["routes"]
    assert page["group_by"] == ["alertname", "model", "version", "variant", "environment"]
    assert ticket["group_by"] == [*page["group_by"], "shard"]


def test_a_page_silences_the_tickets_of_its_objective(tmp_path: Path) -> None:
    first, second = routes(tmp_path)["inhibit_rules"]
    assert first["target_matchers"] == ['severity="ticket"']
    assert first["equal"] == ["objective", "model", "version", "variant", "environment"]
    assert second["source_matchers"] == ['alertname="TelemetryStopped"']


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("name: b,", "name: c,", "has no entry for b, which objectives name"),
        ("name: b,", "name: a,", "'a' is given twice"),
        ("otherwise: a", "otherwise: z", "'z' is no receiver"),
        ("30m", "later", "escalate_after: 'later' is not a span"),
        ("http://127.0.0.1:1/a", "mailto:a", "an address that takes Alertmanager's webhook"),
    ],
)
def test_receivers_that_leave_somebody_out_are_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = tmp_path / "receivers.yaml"
    path.write_text(FILE.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read_receivers(path, [ONE])
    assert message in str(refused.value) and "receivers.yaml" in str(refused.value)
