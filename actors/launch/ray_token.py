"""Makes the token of the Ray cluster that ``calmops up`` starts: nobody else on the machine may run code there.

The token lies in the state folder and not in Ray's own place, so that a token in ~/.ray for other clusters changes
nothing here. Ray reads its authentication mode when it is imported, so this module doesn't import it.
"""

import os
import secrets

from calmops.foundation import paths


def own_cluster() -> dict[str, str]:
    """Return the variables with which our cluster's processes, and the drivers that join it, find its token."""
    path = paths.folder("run") / "ray_token"
    if not path.is_file():
        fresh = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        fresh.rename(path)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
