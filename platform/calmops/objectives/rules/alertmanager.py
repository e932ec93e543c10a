"""Who is told: teams and escalations to an Alertmanager configuration, with receivers.yaml saying how each is reached.

A page goes to its team at once, and to its escalation once it has burnt for ``escalate_after``. What pages and what opens
tickets is grouped differently: a page by model, version and environment, a ticket by shard as well.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import Problem, parse
from calmops.objectives.promises.objective import AnyObjective
from calmops.objectives.promises.windows import Span, seconds, span, span_problem
from calmops.objectives.rules.alert_rules import TELEMETRY_ALERTS, TELEMETRY_STOPPED
from calmops.objectives.rules.series import Pace

ABOUT = (
    "model",
    "version",
    "variant",
    "environment",
)  # what an alert is about: staging's page is no reason to hush production
PAGE_GROUP = ("alertname", *ABOUT)
TICKET_GROUP = (*PAGE_GROUP, "shard")
DAY_S = 86400

Receiver = dict[str, Any]


class ReceiverEntry(Struct, frozen=True, kw_only=True):
    """How one team or escalation is reached: any HTTP endpoint that takes Alertmanager's webhook."""

    name: Annotated[str, Meta(min_length=1, description="a team or an escalation that objectives name")]
    webhook: Annotated[str, Meta(pattern="^https?://", description="an address that takes Alertmanager's webhook")]


class ReceiversFile(Struct, frozen=True, kw_only=True):
    """receivers.yaml."""

    otherwise: Annotated[str, Meta(description="who is told of an alert that names no team of this file")]
    escalate_after: Span
    receivers: tuple[ReceiverEntry, ...]


def read_receivers(path: Path, objectives: Sequence[AnyObjective]) -> ReceiversFile:
    """receivers.yaml, with a receiver for each team and escalation. Raises ConfigError, one line for each problem."""
    return msgspec.convert(parse(path, ReceiversFile, lambda tree: _contradictions(tree, objectives)), ReceiversFile)


def alertmanager_file(
    receivers: ReceiversFile, objectives: Sequence[AnyObjective], pace: Pace | None = None
) -> dict[str, Any]:
    """The content of alertmanager.yml."""
    pace = pace or Pace()

    def route(matchers: Iterable[str], receiver: str, group: tuple[str, ...], **each_s: float) -> Receiver:
        told = {f"{name}": span(pace.seconds(value)) for name, value in each_s.items()}
        return {"matchers": list(matchers), "receiver": receiver, "group_by": list(group), **told}

    teams = _named(objectives, "team")
    routes: list[Receiver] = []
    for team in teams:
        mine = f'team="{team}"'
        routes += [
            route(
                ['severity="page"', mine], team, PAGE_GROUP, group_wait=10, group_interval=300, repeat_interval=4 * 3600
            )
            | {"continue": True},
            route(
                ['severity="ticket"', mine],
                team,
                TICKET_GROUP,
                group_wait=300,
                group_interval=3600,
                repeat_interval=3 * DAY_S,
            ),
        ]
    routes += [
        route(
            ['severity="page"', f'escalation="{name}"'], name, PAGE_GROUP,
            group_wait=seconds(receivers.escalate_after), group_interval=300, repeat_interval=4 * 3600,
        )
        for name in _named(objectives, "escalation")
    ]  # fmt: skip
    return {
        "route": {"receiver": receivers.otherwise, "group_by": list(PAGE_GROUP), "routes": routes},
        "inhibit_rules": [
            {
                "source_matchers": ['severity="page"'], "target_matchers": ['severity="ticket"'],
                "equal": ["objective", *ABOUT],
            },
            {"source_matchers": [f'alertname="{TELEMETRY_STOPPED}"'], "target_matchers": ['objective="telemetry-completeness"']},
        ],
        "receivers": [
            {"name": one.name, "webhook_configs": [{"url": one.webhook, "send_resolved": True}]} for one in receivers.receivers
        ],
    }  # fmt: skip


def _named(objectives: Sequence[AnyObjective], field: str) -> list[str]:
    """Every team, or every escalation, once."""
    return list(dict.fromkeys(getattr(one, field) for one in [*objectives, *TELEMETRY_ALERTS]))


def _contradictions(tree: dict[str, Any], objectives: Sequence[AnyObjective]) -> list[Problem]:
    names = [one["name"] for one in tree["receivers"]]
    problems = span_problem("escalate_after", tree["escalate_after"])
    problems += [
        Problem(f"receivers[{index}].name", f"{name!r} is given twice; keep one")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    missing = [name for field in ("team", "escalation") for name in _named(objectives, field) if name not in names]
    if missing:
        problems.append(
            Problem("receivers", f"has nobody for {', '.join(dict.fromkeys(missing))}, whom objectives name; add them")
        )
    if tree["otherwise"] not in names:
        problems.append(Problem("otherwise", f"{tree['otherwise']!r} is no receiver; there are {', '.join(names)}"))
    return problems
