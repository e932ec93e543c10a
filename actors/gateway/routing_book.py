"""Where each attempt went, before its first frame says so, and how many tokens each replica was given.

Kept by stream token: a client may use a request id again. And apart from the router: Serve ships the router's module by
value, and this must be the gateway process's one copy.
"""

import asyncio
from collections import Counter, deque
from threading import Lock
from zlib import crc32

from calmops.messages.placement import Placement

_Entries = dict[int, tuple[str, int]]  # an attempt's stream token -> (replica id, tokens)


class RoutingBook:
    """Where each attempt went, and the tokens that each replica was given, by this gateway and others, and has not ended."""

    def __init__(self) -> None:
        self._routable: dict[
            str, frozenset[str]
        ] = {}  # model's application -> replicas that its router may choose from
        self._lock = Lock()
        self._routes: _Entries = {}
        self._leaning: _Entries = {}  # chosen for, not yet routed
        self._tokens: Counter[str] = Counter()
        self._reports: dict[str, tuple[int, str]] = {}  # replica id -> (other gateways' tokens, fingerprint)
        self._awaited: dict[int, asyncio.Future[None]] = {}
        self._ended_unrouted: deque[int] = deque(maxlen=1000)  # cancelled while Serve was still routing

    def knows(self, application: str, replica_ids: frozenset[str]) -> None:
        """A model's router may choose from these replicas from now on."""
        self._routable[application] = replica_ids

    def is_routable(self, replica_id: str) -> bool:
        """Whether a router may choose this replica. A model's router knows of any from the first request on."""
        return any(replica_id in known for known in tuple(self._routable.values()))

    def expect(self, stream_token: int) -> "asyncio.Future[None]":
        """Done as soon as the attempt is routed. Call it on the gateway's loop, before the attempt is sent."""
        future = asyncio.get_running_loop().create_future()
        self._awaited[stream_token] = future
        return future

    def lean(self, placement: Placement, replica_id: str) -> None:
        """A replica was chosen for an attempt: its tokens count there at once, else a burst would all go one way."""
        key = placement.stream_token
        with self._lock:
            if key not in self._ended_unrouted and key not in self._routes:
                self._take_back(self._leaning, key)
                self._put(self._leaning, key, placement, replica_id)

    def routed(self, placement: Placement, replica_id: str) -> None:
        """An attempt went to a replica."""
        key = placement.stream_token
        with self._lock:
            self._take_back(self._leaning, key)
            if key in self._ended_unrouted:
                return
            self._put(self._routes, key, placement, replica_id)
            awaited = self._awaited.pop(key, None)
        if awaited is not None:
            awaited.get_loop().call_soon_threadsafe(_settle, awaited)

    def ended(self, stream_token: int) -> None:
        """The attempt is over, however it ended."""
        with self._lock:
            self._awaited.pop(stream_token, None)
            self._take_back(self._leaning, stream_token)
            if not self._take_back(self._routes, stream_token):
                self._ended_unrouted.append(stream_token)

    def replica_of(self, stream_token: int) -> str | None:
        """The replica that has the attempt; None while it waits to be routed."""
        return self._routes.get(stream_token, (None, 0))[0]

    def tokens(self, replica_id: str) -> int:
        """Tokens in flight of this gateway's attempts."""
        return self._tokens[replica_id]

    def reported(self, replica_id: str, tokens: int, fingerprint: str) -> None:
        """A replica's frame says how many tokens it has in flight, of all gateways."""
        self._reports[replica_id] = (max(0, tokens - self._tokens[replica_id]), fingerprint)

    def forget(self, replica_id: str) -> None:
        """A replica is lost: what it reported is void."""
        self._reports.pop(replica_id, None)

    def cost(self, placement: Placement | None, replica_id: str) -> tuple[bool, int, int]:
        """How a replica ranks for an attempt, the least first: an equal fingerprint, then tokens in flight, then lots."""
        others, fingerprint = self._reports.get(replica_id, (0, None))
        request_id, wanted = ("", None) if placement is None else (placement.request_id, placement.fingerprint)
        unequal = wanted is not None and fingerprint != wanted
        return unequal, self._tokens[replica_id] + others, crc32(f"{request_id}/{replica_id}".encode())

    def _put(self, book: _Entries, key: int, placement: Placement, replica_id: str) -> None:
        book[key] = (replica_id, placement.tokens)
        self._tokens[replica_id] += placement.tokens

    def _take_back(self, book: _Entries, key: int) -> bool:
        """False if there was nothing to take back."""
        replica_id, tokens = book.pop(key, (None, 0))
        if replica_id is None:
            return False
        self._tokens[replica_id] -= tokens
        if self._tokens[replica_id] <= 0:
            del self._tokens[replica_id]
        return True


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


BOOK = RoutingBook()
