"""Makes an HTTP response of a typed error, in the form of OpenAI's API."""

from fastapi.responses import JSONResponse

from calmops.foundation.errors import CalmopsError
from calmops.intake.answers import error_body


def error_response(error: CalmopsError) -> JSONResponse:
    """Return the error's status, its OpenAI error object, and Retry-After if it says when to try again."""
    headers: dict[str, str] = {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    return JSONResponse(error_body(error), error.status, headers=headers)
