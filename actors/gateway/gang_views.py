"""Describes a gang as one gateway sees it, and as all gateways see it, for the operator API and the console. Pure."""

import time
from typing import Any

from actors.gateway.routing_book import RoutingBook
from calmops.messages.roster import GangEntry, Roster
from calmops.streams.gang_liveness import GangView

View = dict[str, Any]  # plain values: it travels between gateways as JSON


def own_view(entry: GangEntry, view: GangView | None, book: RoutingBook) -> View:
    """Describe a gang of the roster as this gateway sees it; ``view`` is None for one that it doesn't hear."""
    facts = view.facts if view else None
    return {
        "tokens_in_flight": book.tokens(entry.replica_id),
        "routable": book.is_routable(entry.replica_id),
        "linked": view is not None,
        "step": view.step if view else -1,
        "heard_ms_ago": (time.monotonic_ns() - view.heard_ns) // 1_000_000 if view else None,
        "facts_step": view.facts_step if view else -1,
        "running": facts.running if facts else 0,
        "waiting": facts.waiting if facts else 0,
        "kv_blocks_used": facts.kv_blocks_used if facts else 0,
        "kv_blocks_total": facts.kv_blocks_total if facts else None,
    }


def merged_view(views: list[View]) -> View:
    """Describe one gang as all gateways see it: the newest step's facts, tokens added up, linked if all hear it.

    A gateway's router knows replicas from its first request on, so a gang is routable if any router may choose it.
    """
    newest = max(views, key=lambda view: int(view["facts_step"]))
    heard = [view["heard_ms_ago"] for view in views if view["heard_ms_ago"] is not None]
    step = max(int(view["step"]) for view in views)
    return {
        "tokens_in_flight": sum(view["tokens_in_flight"] for view in views),
        "routable": any(view["routable"] for view in views),
        "linked": all(view["linked"] for view in views),
        "step": step if step >= 0 else None,
        "heard_ms_ago": min(heard, default=None),
        **{name: newest[name] for name in ("running", "waiting", "kv_blocks_used", "kv_blocks_total")},
    }


def gangs_seen(roster: Roster, answers: list[View]) -> list[tuple[GangEntry, View]]:
    """Return each gang of the roster that a gateway answered for, and all gateways' view of it, by model and shard."""
    gangs = []
    for entry in sorted(roster.gangs, key=lambda entry: (entry.model, entry.shard)):
        views = [answer["gangs"][entry.gang_id] for answer in answers if entry.gang_id in answer["gangs"]]
        if views:
            draining = entry.replica_id in roster.draining
            gangs.append((entry, {"draining": draining, **merged_view(views)}))
    return gangs
