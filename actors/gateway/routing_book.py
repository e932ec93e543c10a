"""Notes where each attempt went, before its first frame says so, and how many tokens each replica has in flight.

Attempts are noted by stream token, since a client may use a request id again. The book stands apart from the router
because Serve ships the router's module by value, and a gateway process must have one book.
"""

import asyncio
from collections import Counter, deque
from threading import Lock

from calmops.messages.placement import Placement
from calmops.routing.cost import ReplicaLoad

_Entries = dict[int, tuple[str, int]]  # an attempt's stream token -> (replica id, tokens)


class RoutingBook:
    """Notes where each attempt went, and the tokens in flight at each replica, of this gateway and of others."""

    def __init__(self) -> None:
        # a model's application -> the replicas that its router may choose from
        self._routable: dict[str, frozenset[str]] = {}
        self._lock = Lock()
        self._routes: _Entries = {}
        self._choices: _Entries = {}  # attempts that a replica was chosen for and that aren't routed yet
        self._tokens: Counter[str] = Counter()
        self._reports: dict[str, tuple[int, str]] = {}  # replica id -> (other gateways' tokens, fingerprint)
        self._awaited: dict[int, asyncio.Future[None]] = {}
        self._ended_unrouted: deque[int] = deque(maxlen=1000)  # cancelled while Serve was still routing

    def set_routable(self, application: str, replica_ids: frozenset[str]) -> None:
        """Note that a model's router may choose from these replicas from now on."""
        self._routable[application] = replica_ids

    def is_routable(self, replica_id: str) -> bool:
        """Return whether a router may choose this replica. A router knows none before its model's first request."""
        return any(replica_id in known for known in tuple(self._routable.values()))

    def expect(self, stream_token: int) -> "asyncio.Future[None]":
        """Return a future that is done when the attempt is routed.

        Call it on the gateway's loop, before the attempt is sent.
        """
        future = asyncio.get_running_loop().create_future()
        self._awaited[stream_token] = future
        return future

    def note_choice(self, placement: Placement, replica_id: str) -> None:
        """Note which replica was chosen for an attempt.

        The attempt's tokens count there at once; otherwise a burst of requests would all go to one replica.
        """
        key = placement.stream_token
        with self._lock:
            if key not in self._ended_unrouted and key not in self._routes:
                self._take_back(self._choices, key)
                self._put(self._choices, key, placement, replica_id)

    def note_route(self, placement: Placement, replica_id: str) -> None:
        """Note that an attempt went to a replica."""
        key = placement.stream_token
        with self._lock:
            self._take_back(self._choices, key)
            if key in self._ended_unrouted:
                return
            self._put(self._routes, key, placement, replica_id)
            awaited = self._awaited.pop(key, None)
        if awaited is not None:
            awaited.get_loop().call_soon_threadsafe(_settle, awaited)

    def end(self, stream_token: int) -> None:
        """Note that an attempt is over, however it ended."""
        with self._lock:
            self._awaited.pop(stream_token, None)
            self._take_back(self._choices, stream_token)
            if not self._take_back(self._routes, stream_token):
                self._ended_unrouted.append(stream_token)

    def replica_of(self, stream_token: int) -> str | None:
        """Return the replica that has the attempt; None while it waits to be routed."""
        return self._routes.get(stream_token, (None, 0))[0]

    def tokens(self, replica_id: str) -> int:
        """Return the tokens in flight of this gateway's attempts."""
        return self._tokens[replica_id]

    def report(self, replica_id: str, tokens: int, fingerprint: str) -> None:
        """Note how many tokens a replica has in flight, of all gateways, as its frame says."""
        self._reports[replica_id] = (max(0, tokens - self._tokens[replica_id]), fingerprint)

    def forget(self, replica_id: str) -> None:
        """Forget what a replica reported: it is lost."""
        self._reports.pop(replica_id, None)

    def load(self, replica_id: str) -> ReplicaLoad:
        """Return what is known of a replica when an attempt is routed."""
        others, fingerprint = self._reports.get(replica_id, (0, None))
        return ReplicaLoad(replica_id, self._tokens[replica_id] + others, fingerprint)

    def _put(self, book: _Entries, key: int, placement: Placement, replica_id: str) -> None:
        book[key] = (replica_id, placement.tokens)
        self._tokens[replica_id] += placement.tokens

    def _take_back(self, book: _Entries, key: int) -> bool:
        """Take an attempt's tokens back. Return False if there were none."""
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


BOOK = RoutingBook()  # the one of this process: the router takes it from here, the other parts are handed it
