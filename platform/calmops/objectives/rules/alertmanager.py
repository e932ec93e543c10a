"""Writes Alertmanager's configuration: which team and which escalation get an alert, and how to reach them.

A page goes to its team at once, and to its escalation once it has burnt for ``escalate_after``. Pages and tickets are
grouped differently: a page by model, version, variant and environment, a ticket by shard as well. Knows no PromQL.
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

# What an alert is about. The environment is part of it: staging's page must not silence production's ticket.
ABOUT = ("model", "version", "variant", "environment")
PAGE_GROUP = ("alertname", *ABOUT)
TICKET_GROUP = (*PAGE_GROUP, "shard")
DAY_S = 86400

Receiver = dict[str, Any]


class ReceiverEntry(Struct, frozen=True, kw_only=True):
    """Says how to reach one team or escalation: any HTTP endpoint that takes Alertmanager's webhook."""

    name: Annotated[str, Meta(min_length=1, description="a team or an escalation that objectives name")]
    webhook: Annotated[str, Meta(pattern="^https?://", description="an address that takes Alertmanager's webhook")]


class ReceiversFile(Struct, frozen=True, kw_only=True):
    """Holds the content of receivers.yaml."""

    otherwise: Annotated[str, Meta(description="who gets an alert that names no team of this file")]
    escalate_after: Span
    receivers: tuple[ReceiverEntry, ...]


def read_receivers(path: Path, objectives: Sequence[AnyObjective]) -> ReceiversFile:
    """Read receivers.yaml, which must name every team and escalation. Raises ConfigError, one line per problem."""
    return msgspec.convert(parse(path, ReceiversFile, lambda tree: _contradictions(tree, objectives)), ReceiversFile)


def alertmanager_file(
    receivers: ReceiversFile, objectives: Sequence[AnyObjective], pace: Pace | None = None
) -> dict[str, Any]:
    """Return the content of alertmanager.yml."""
    pace = pace or Pace()

    def route(matchers: Iterable[str], receiver: str, group: tuple[str, ...], **timers_s: float) -> Receiver:
        timers = {name: span(pace.seconds(value)) for name, value in timers_s.items()}
        return {"matchers": list(matchers), "receiver": receiver, "group_by": list(group), **timers}

    page_timers_s = {"group_interval": 300, "repeat_interval": 4 * 3600}
    ticket_timers_s = {"group_wait": 300, "group_interval": 3600, "repeat_interval": 3 * DAY_S}
    routes: list[Receiver] = []
    for team in _names(objectives, "team"):
        own = f'team="{team}"'
        page = route(['severity="page"', own], team, PAGE_GROUP, group_wait=10, **page_timers_s)
        ticket = route(['severity="ticket"', own], team, TICKET_GROUP, **ticket_timers_s)
        routes += [page | {"continue": True}, ticket]
    escalate_after_s = seconds(receivers.escalate_after)
    routes += [
        route(
            ['severity="page"', f'escalation="{name}"'], name, PAGE_GROUP, group_wait=escalate_after_s, **page_timers_s
        )
        for name in _names(objectives, "escalation")
    ]
    return {
        "route": {"receiver": receivers.otherwise, "group_by": list(PAGE_GROUP), "routes": routes},
        "inhibit_rules": [
            {
                "source_matchers": ['severity="page"'], "target_matchers": ['severity="ticket"'],
                "equal": ["objective", *ABOUT],
            },
            {
                "source_matchers": [f'alertname="{TELEMETRY_STOPPED}"'],
                "target_matchers": ['objective="telemetry-completeness"'],
            },
        ],
        "receivers": [
            {"name": one.name, "webhook_configs": [{"url": one.webhook, "send_resolved": True}]}
            for one in receivers.receivers
        ],
    }  # fmt: skip


def _names(objectives: Sequence[AnyObjective], field: str) -> list[str]:
    """Return every team, or every escalation, once."""
    return list(dict.fromkeys(getattr(one, field) for one in [*objectives, *TELEMETRY_ALERTS]))


def _contradictions(tree: dict[str, Any], objectives: Sequence[AnyObjective]) -> list[Problem]:
    names = [one["name"] for one in tree["receivers"]]
    problems = span_problem("escalate_after", tree["escalate_after"])
    problems += [
        Problem(f"receivers[{index}].name", f"{name!r} is given twice; keep one")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    missing = [name for field in ("team", "escalation") for name in _names(objectives, field) if name not in names]
    if missing:
        problems.append(
            Problem("receivers", f"has no entry for {', '.join(dict.fromkeys(missing))}, which objectives name; add it")
        )
    if tree["otherwise"] not in names:
        problems.append(Problem("otherwise", f"{tree['otherwise']!r} is no receiver; there are {', '.join(names)}"))
    return problems
