"""Guards the operators' routes: a caller must show the operator's token, if one is set."""

import hmac
from collections.abc import Callable

from fastapi import Request

from calmops.foundation.errors import CalmopsError


class Forbidden(CalmopsError):
    """Says that the operator's token is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_admin_token"


def operators_only(token: str | None) -> Callable[[Request], None]:
    """Return a route dependency that raises Forbidden for a request without this token; None lets everyone in."""

    def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Forbidden(
                f"{request.url.path} needs `Authorization: Bearer TOKEN`, the token being in http.admin_token_file"
            )

    return allowed
