"""Holds applications for `serve build`, which takes no builders: ``actors.built:telemetry``, ``:model``, ``:gateway``.

Each is built when it is asked for, from the calmops.yaml in force. ``:model`` is the first model that it names.
"""

from ray import serve

from actors import app
from calmops.foundation import config as configuration


def __getattr__(name: str) -> serve.Application:
    builders = {"telemetry": app.telemetry, "model": app.model, "gateway": app.gateway}
    if name not in builders:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    config = configuration.load()
    chosen = {"model": config.models[0].name} if name == "model" else {}
    return builders[name]({**configuration.to_json(config), **chosen})
