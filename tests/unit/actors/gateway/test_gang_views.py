"""Several gateways' views of one gang are put together."""

from typing import Any

import pytest

from actors.gateway.gang_views import merged_view


def view(**more: Any) -> dict[str, Any]:
    """Return a gateway's view of a gang that it hears and never sent anything to."""
    return {
        "tokens_in_flight": 0, "routable": False, "linked": True, "step": 0, "heard_ms_ago": 20, "facts_step": -1,
        "running": 0, "waiting": 0, "kv_blocks_used": 0, "kv_blocks_total": None, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("why", "views", "expected"),
    [
        ("one gateway's view is the whole", [view(step=3, running=2)], {"step": 3, "running": 2, "linked": True}),
        (
            "the newest step's facts count",
            [view(facts_step=7, running=2, kv_blocks_used=9), view(facts_step=5, running=4, kv_blocks_used=3)],
            {"running": 2, "kv_blocks_used": 9},
        ),
        ("tokens add up", [view(tokens_in_flight=5), view(tokens_in_flight=8)], {"tokens_in_flight": 13}),
        ("routable if any router may choose it", [view(), view(routable=True)], {"routable": True}),
        ("linked only if all hear it", [view(), view(linked=False, step=-1, heard_ms_ago=None)], {"linked": False}),
        ("heard when the last of them heard it", [view(heard_ms_ago=90), view(heard_ms_ago=4)], {"heard_ms_ago": 4}),
        (
            "no step before the first frame",
            [view(linked=False, step=-1, heard_ms_ago=None)],
            {"step": None, "heard_ms_ago": None},
        ),
    ],
)
def test_views_are_merged(why: str, views: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    merged = merged_view(views)
    assert {name: merged[name] for name in expected} == expected, why
