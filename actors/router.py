"""Keeps release 0.1's path of the router: Serve's controller names it until `up` has replaced what 0.1 deployed."""

from actors.gateway.router import LeastTokensRouter

__all__ = ["LeastTokensRouter"]
