"""Runs a synthetic outage against a real Prometheus and Alertmanager with the shipped rules, at 60 times the speed.

Knows when things happened and what fired, not what should have.
"""

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from calmops.local_services.prometheus import scraping
from calmops.objectives.promises_folder import Folder
from calmops.objectives.rules.alert_rules import TELEMETRY_STOPPED
from calmops.objectives.rules.alertmanager import alertmanager_file
from calmops.objectives.rules.rule_file import LONG_S, SHORT_S, rule_file
from calmops.objectives.rules.series import Pace
from tests.support.alerts.outage import Exporter, Notification, Receiver
from tests.support.alerts.real_servers import RealPrometheus, alertmanager

BY, SCRAPE_S, RATE_PER_S = 60, 1, 100.0
PACE, ROUTING_PACE = Pace(BY, least_s=4 * SCRAPE_S), Pace(BY)
GONE_S, BACK_S = 17, 12
EVALUATED_S = {"page": PACE.seconds(SHORT_S), "ticket": PACE.seconds(LONG_S)}  # how often rules are evaluated
AlertKey = tuple[str, str, str]  # an alert, its severity, a model


class Course(NamedTuple):
    """Says how long each part of an outage lasts, in seconds."""

    clean_s: float
    outage_s: float
    recovery_s: float

    def holds(self, for_s: int) -> bool:
        """Return whether the outage is long enough for an alert whose condition must last, and for its notification."""
        return PACE.seconds(for_s) + 10 < self.outage_s


LONG, SHORT = Course(380, 90, 400), Course(24, 13, 1)


class Spell(NamedTuple):
    """Says from when to when an alert fired, in Unix seconds."""

    first_s: float
    last_s: float


class Outage(NamedTuple):
    """Holds what one outage left. Times with unix in their name are Unix seconds, the others are monotonic."""

    outage_unix_s: float
    recovered_unix_s: float
    gone_unix_s: float
    back_unix_s: float
    recovered_s: float
    spells: dict[AlertKey, Spell]
    notifications: list[Notification]
    early: list[Notification]


def run_outage(folder: Folder, course: Course) -> Outage:
    """Run good traffic, the outage, good traffic again, and the exporter gone and back."""
    with tempfile.TemporaryDirectory(prefix="calmops-outage-") as temporary:
        exporter, receiver = Exporter(folder.promises.objectives, RATE_PER_S), Receiver()
        manager = alertmanager(Path(temporary) / "alertmanager")
        settings = scraping([f"127.0.0.1:{exporter.port}"], f"127.0.0.1:{manager.port}", SCRAPE_S)
        prometheus = RealPrometheus(Path(temporary) / "prometheus", "--rules.alert.resend-delay=2s", settings=settings)
        prometheus.give_rules(rule_file(folder.promises, folder.links, PACE))
        try:
            manager.start(_routes(folder, receiver.url))
            prometheus.start()
            time.sleep(course.clean_s)
            early = list(receiver.notifications)
            unix_s = time.time() - time.monotonic()
            outage_s = exporter.turn(bad=True)
            time.sleep(course.outage_s)
            recovered_s = exporter.turn(bad=False)
            time.sleep(course.recovery_s)
            exporter.reachable, gone_s = False, time.monotonic()
            time.sleep(GONE_S)
            exporter.reachable, back_s = True, time.monotonic()
            time.sleep(BACK_S if course is LONG else 0)
            spells = _spells(prometheus, outage_s + unix_s, gone_s + unix_s)
        finally:
            for server in (prometheus, manager, exporter, receiver):
                server.stop()
    return Outage(
        outage_unix_s=outage_s + unix_s,
        recovered_unix_s=recovered_s + unix_s,
        gone_unix_s=gone_s + unix_s,
        back_unix_s=back_s + unix_s,
        recovered_s=recovered_s,
        spells=spells,
        notifications=receiver.notifications,
        early=early,
    )


def _routes(folder: Folder, url: str) -> dict[str, object]:
    """Return the shipped routes with our receiver behind every name."""
    entries = [msgspec.structs.replace(one, webhook=f"{url}/{one.name}") for one in folder.receivers.receivers]
    receivers = msgspec.structs.replace(folder.receivers, receivers=tuple(entries))
    return alertmanager_file(receivers, folder.promises.objectives, ROUTING_PACE)


def _spells(prometheus: RealPrometheus, outage_s: float, gone_s: float) -> dict[AlertKey, Spell]:
    """Return when each alert fired, in Unix seconds; TelemetryStopped only after the exporter was gone."""
    spells: dict[AlertKey, Spell] = {}
    for labels, values in prometheus.over('ALERTS{alertstate="firing"}', outage_s - 5, time.time(), SCRAPE_S):
        key = labels["alertname"], labels["severity"], labels.get("model", "")
        times_s = [at_s for at_s, _ in values if labels["alertname"] != TELEMETRY_STOPPED or at_s >= gone_s]
        if times_s:
            before = spells.get(key, Spell(times_s[0], times_s[-1]))
            spells[key] = Spell(min(before.first_s, times_s[0]), max(before.last_s, times_s[-1]))
    return spells
