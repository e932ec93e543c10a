"""Routes placements to replicas inside Serve: never to one that is named as lost, else to the first by its cost.

``calmops.routing.cost`` decides the order. Serve's own router would send a migrated stream back to a stopped replica.
The router lives in the gateway's process, and notes there where each call went. Serve ships this module by value, so
its state lives in ``routing_book``.
"""

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from actors.gateway import routing_book
from calmops.messages.placement import Placement
from calmops.routing.cost import cost


class LeastTokensRouter(RequestRouter):
    """Offers Serve the replicas one by one, best first; none if all are lost, and then Serve asks again after a pause.

    It forgoes Serve's FIFOMixin, which gives the replica chosen for one request to the oldest that waits, lost or not.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        placement = _placement(pending_request)
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True  # else Serve asks again without ever awaiting
        lost = placement.lost if placement else ()
        kept = [replica for replica in candidate_replicas if replica.replica_id.unique_id not in lost]
        kept.sort(key=lambda replica: cost(placement, routing_book.BOOK.load(replica.replica_id.unique_id)))
        if placement is not None and kept:
            routing_book.BOOK.note_choice(placement, kept[0].replica_id.unique_id)
        return [[replica] for replica in kept]

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        routing_book.BOOK.set_routable(self.app_name, frozenset(replica.replica_id.unique_id for replica in replicas))

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, _result: object) -> None:
        placement = _placement(pending_request)
        if placement is not None:
            routing_book.BOOK.note_route(placement, replica_id.unique_id)


def _placement(pending: PendingRequest | None) -> Placement | None:
    return next((arg for arg in pending.args if isinstance(arg, Placement)), None) if pending else None
