"""Errors as OpenAI's API shows them. Only what calmops raises on purpose has words for the client."""

from typing import Any

from calmops.foundation.errors import CalmopsError, InputError


def error_body(error: Exception) -> dict[str, Any]:
    """``{"error": {message, type, param, code}}``; an error we didn't raise on purpose shows nothing of itself."""
    if not isinstance(error, CalmopsError):
        return {"error": {"message": "internal error", "type": "server_error", "param": None, "code": None}}
    param = error.param if isinstance(error, InputError) else None
    return {"error": {"message": str(error), "type": error.type, "param": param, "code": error.code}}
