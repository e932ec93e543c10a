"""Generates the dashboards' JSON, which `calmops dashboards generate` writes and tests compare.

Knows which dashboards there are, not what they show.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.pages import debug, executive, game_day, on_call

SHIPPED = Path(__file__).resolve().parent
DASHBOARDS = {"executive": executive, "on-call": on_call, "debug": debug, "game-day": game_day}


def generated() -> dict[str, str]:
    """Return every file's text, by the file's path within this folder."""
    return {
        f"generated/{name}.json": json.dumps(module.build().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, module in DASHBOARDS.items()
    }
