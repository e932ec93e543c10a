"""Release 0.1's path of the router. Serve's controller names it for what 0.1 deployed, until `up` has replaced that."""

from actors.gateway.router import LeastTokensRouter

__all__ = ["LeastTokensRouter"]
