"""Which replica gets a placement: never one that is named as lost, otherwise the one with the least tokens in flight.

Of all gateways: replicas report theirs in each frame. A stream that migrates prefers a replica of equal fingerprint.

Serve's own router would send a migrated stream back to a stopped replica. The router lives in the gateway's
process, and notes there where each call went. Serve ships this module by value: state lives in ``routing_book``.
"""

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from actors.gateway import routing_book
from calmops.messages.placement import Placement


class LeastTokensRouter(RequestRouter):
    """One rank a replica, best first; empty when all are lost, and then Serve asks again after a pause.

    Without Serve's FIFOMixin, which gives the replica chosen for one request to the oldest that waits, lost or not.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        placement = _placement(pending_request)
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True  # else Serve asks again without ever awaiting
        lost = placement.lost if placement else ()
        kept = [replica for replica in candidate_replicas if replica.replica_id.unique_id not in lost]
        kept.sort(key=lambda replica: routing_book.BOOK.cost(placement, replica.replica_id.unique_id))
        if placement is not None and kept:
            routing_book.BOOK.lean(placement, kept[0].replica_id.unique_id)
        return [[replica] for replica in kept]

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        routing_book.BOOK.knows(self.app_name, frozenset(replica.replica_id.unique_id for replica in replicas))

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, _result: object) -> None:
        placement = _placement(pending_request)
        if placement is not None:
            routing_book.BOOK.routed(placement, replica_id.unique_id)


def _placement(pending: PendingRequest | None) -> Placement | None:
    return next((arg for arg in pending.args if isinstance(arg, Placement)), None) if pending else None
