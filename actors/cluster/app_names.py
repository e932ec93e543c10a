"""What the Serve applications and deployments are called, for those who build them and those who look them up."""

GATEWAY_APP = "gateway"
TELEMETRY_APP = "telemetry"
REPLICA = "Replica"


def model_app(name: str) -> str:
    """The application that serves a model."""
    return f"model-{name}"
