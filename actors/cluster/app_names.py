"""Holds the names of Serve applications, deployments and detached actors: who starts them and who looks them up agree.

Detached actors outlive the job that started them, so their names carry the protocol's version: a process of one version
never calls an actor of another. An `up` that finds everything of its own version running ends those of others.
"""

from calmops.messages.roster import PROTOCOL

GATEWAY_APP = "gateway"
TELEMETRY_APP = "telemetry"
REPLICA = "Replica"
NAMESPACE = "calmops"
REGISTRY = f"registry-{PROTOCOL}"


def model_app(name: str) -> str:
    """Return the name of the application that serves a model."""
    return f"model-{name}"


def reaper_name(node_id: str) -> str:
    """Return the name of a node's reaper."""
    return f"reaper-{PROTOCOL}-{node_id}"


def is_of_another_version(actor: str) -> bool:
    """Return whether another version, such as 0.1 ("health", "reaper-NODE"), started this actor of our namespace."""
    ours = actor == "health" or actor.startswith(("registry-", "reaper-"))
    return ours and actor != REGISTRY and not actor.startswith(f"reaper-{PROTOCOL}-")
