"""Which replica gets a placement: never one that is named as lost, otherwise the one with the least tokens in flight.

Serve's own router would send a migrated stream back to a stopped replica. The router lives in the gateway's
process; ``BOOK`` is how the gateway learns where a call went before its first frame.
"""

from collections import Counter, deque
from threading import Lock

from ray.serve.request_router import FIFOMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica

from calmops.messages.placement import Placement


class RoutingBook:
    """Where each attempt went, and the tokens that each replica was given and has not ended."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._routes: dict[tuple[str, int], tuple[str, int]] = {}
        self._tokens: Counter[str] = Counter()
        self._ended_unrouted: deque[tuple[str, int]] = deque(maxlen=1000)  # cancelled while Serve was still routing

    def routed(self, placement: Placement, replica_id: str) -> None:
        """An attempt went to a replica."""
        tokens = len(placement.prompt_ids) + placement.params.n * placement.params.max_tokens
        with self._lock:
            if (placement.request_id, placement.attempt) in self._ended_unrouted:
                return
            self._routes[placement.request_id, placement.attempt] = (replica_id, tokens)
            self._tokens[replica_id] += tokens

    def ended(self, request_id: str, attempt: int) -> None:
        """The attempt is over, however it ended."""
        with self._lock:
            replica_id, tokens = self._routes.pop((request_id, attempt), (None, 0))
            if replica_id is None:
                self._ended_unrouted.append((request_id, attempt))
                return
            self._tokens[replica_id] -= tokens
            if self._tokens[replica_id] <= 0:
                del self._tokens[replica_id]

    def replica_of(self, request_id: str, attempt: int) -> str | None:
        """The replica that has the attempt; None while it waits to be routed."""
        return self._routes.get((request_id, attempt), (None, 0))[0]

    def tokens(self, replica_id: str) -> int:
        """Tokens in flight."""
        return self._tokens[replica_id]


BOOK = RoutingBook()


class LeastTokensRouter(FIFOMixin, RequestRouter):
    """One rank a replica, best first; empty when all are lost, and then Serve asks again."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        placement = _placement(pending_request)
        lost = placement.lost if placement else ()
        kept = [replica for replica in candidate_replicas if replica.replica_id.unique_id not in lost]
        kept.sort(key=lambda replica: BOOK.tokens(replica.replica_id.unique_id))
        return [[replica] for replica in kept]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, _result: object) -> None:
        placement = _placement(pending_request)
        if placement is not None:
            BOOK.routed(placement, replica_id.unique_id)


def _placement(pending: PendingRequest | None) -> Placement | None:
    return next((arg for arg in pending.args if isinstance(arg, Placement)), None) if pending else None
