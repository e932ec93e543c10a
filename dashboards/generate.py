"""The dashboards as JSON, by the file's name under generated/. Compared in tests, written by `calmops dashboards generate`."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.pages import debug, executive, game_day, on_call

SHIPPED = Path(__file__).resolve().parent
DASHBOARDS = {"executive": executive, "on-call": on_call, "debug": debug, "game-day": game_day}


def generated() -> dict[str, str]:
    """Every file's text."""
    return {
        f"generated/{name}.json": json.dumps(module.build().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, module in DASHBOARDS.items()
    }
