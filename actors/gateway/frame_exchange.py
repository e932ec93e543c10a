"""Takes frames from every replica's link and sends cancels back; finds gangs that are silent. On the gateway's loop."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from actors.gateway.live_request import LiveRequest
from actors.gateway.routing_book import RoutingBook
from calmops.foundation.liveness import GATEWAY_ALIVE_S
from calmops.foundation.sockets import FrameServer
from calmops.messages.frame import Cancel, Frame, FromReplica, GatewayAlive
from calmops.messages.peer_question import PeerQuestion
from calmops.streams.gang_liveness import GangLiveness
from calmops.streams.journal import OutOfStep, Taken
from calmops.streams.projection import Projection
from calmops.telemetry.log.publisher import GatewayPublisher

ALIVE_NS = int(GATEWAY_ALIVE_S * 1e9)
OnMessage = Callable[[bytes, bytes], None]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FromReplica | PeerQuestion).decode


class LossReports(Protocol):
    """Takes reports of lost gangs, without waiting."""

    def gang_lost(self, gang_id: str, why: str) -> None:
        """Say that a gang is lost: end it."""
        ...


class FrameExchange:
    """Sorts frames to their live requests, journals them, projects them to the log, and watches for silence."""

    def __init__(
        self,
        publisher: GatewayPublisher,
        liveness: GangLiveness,
        book: RoutingBook,
        reports: LossReports,
        open_server: Callable[[OnMessage], FrameServer],
    ) -> None:
        """``open_server`` binds this gateway's end; its argument is called for every message (link, body), in order."""
        self._publisher = publisher
        self.liveness = liveness
        self._book = book
        self._reports = reports
        self._server = open_server(self._on_message)
        self.channel = self._server.channel
        self._projection = Projection(publisher.labels)
        self._live: dict[str, LiveRequest] = {}
        self._addresses: dict[str, bytes] = {}  # gang id -> link
        self._alive_ns = 0
        self.answer_peers: Callable[[PeerQuestion], Any] = lambda _: None  # answers other gateways' questions
        self.fenced = 0
        self.last_token_ns: dict[str, int] = {}  # model -> monotonic

    def start(self) -> None:
        """Begin to receive on the running loop."""
        self._server.start()

    def close(self) -> None:
        """Stop receiving."""
        self._server.close()

    def add(self, live: LiveRequest) -> None:
        """Hand frames of this request to it from now on."""
        self._live[live.request_id] = live

    def remove(self, live: LiveRequest) -> None:
        """Fence off frames of this request from now on."""
        self._live.pop(live.request_id, None)

    def live(self) -> list[LiveRequest]:
        """Return all live requests of this gateway."""
        return list(self._live.values())

    def find(self, request_id: str) -> LiveRequest | None:
        """Return the live request of this id; None if there is none."""
        return self._live.get(request_id)

    def cancel(self, live: LiveRequest, reason: str) -> None:
        """Ask the replica that has the request's current attempt, or soon will, to free its sequences."""
        journal = live.journal
        replica_id = self._book.replica_of(journal.stream_token)
        message = _encode(Cancel(stream_token=journal.stream_token, reason=reason))
        for gang in self.liveness.gangs():
            if gang.replica_id == replica_id and gang.gang_id in self._addresses:
                self._server.send(self._addresses[gang.gang_id], message)

    def tick(self) -> None:
        """Send replicas word that this gateway lives, and find those that are silent. Called every stall_s / 5."""
        now_ns = time.monotonic_ns()
        if now_ns - self._alive_ns >= ALIVE_NS:
            self._alive_ns = now_ns
            message = _encode(GatewayAlive(gateway_id=self._publisher.gateway_id))
            for link in list(self._addresses.values()):
                self._server.send(link, message)
        for gang_id in self.liveness.newly_silent(now_ns):
            self._publisher.count(self.liveness.model_of(gang_id), "stalled_gangs", "silent")
        for gang_id in self.liveness.forsaken():
            self._migrate(gang_id, "it fell silent", perhaps=True)
        for gang_id in self.liveness.dead(now_ns):
            self.lose(gang_id, "it stayed silent")

    def lose(self, gang_id: str, why: str) -> None:
        """Give up a gang for good: its live requests migrate, and the registry is asked to end it."""
        self._migrate(gang_id, why)
        self._book.forget(self.liveness.replica_of(gang_id) or "")
        self.liveness.lose(gang_id)
        self._addresses.pop(gang_id, None)
        self._reports.gang_lost(gang_id, why)

    def replica_died(self, replica_id: str, why: str) -> None:
        """Give up the gang of a replica whose process is gone, as a failed call shows before the silence does."""
        gang_id = self.liveness.gang_of(replica_id)
        if gang_id is not None:
            self.lose(gang_id, why)

    def _migrate(self, gang_id: str, why: str, *, perhaps: bool = False) -> None:
        replica_id = self.liveness.replica_of(gang_id)
        for live in self._live.values():
            if replica_id is not None and self._book.replica_of(live.journal.stream_token) == replica_id:
                live.lose(f"replica {replica_id} was lost: {why}", perhaps=perhaps)

    def _on_message(self, link: bytes, body: bytes) -> None:
        message = _decode(body)
        if isinstance(message, PeerQuestion):
            self._server.send(link, msgspec.json.encode(self.answer_peers(message)))
            return
        if not isinstance(message, Frame):
            self._addresses[message.gang_id] = link
            return
        now_ns = time.monotonic_ns()
        heard = self.liveness.hear(message, now_ns)
        if heard.lost:
            self._fence(message.model, len(message.deltas), "lost_gang")
            return
        self._addresses[message.gang_id] = link
        self._book.report(message.replica_id, message.tokens_in_flight, message.fingerprint)
        shares = self._hand_out(message, now_ns)
        record = self._projection.project(message, shares, now_ns)
        if record is not None:
            self._publisher.publish(record)
        if heard.gap:
            self._migrate(message.gang_id, "its frames left a gap")
        if heard.ended:
            self.lose(message.gang_id, "it ended")

    def _hand_out(self, frame: Frame, now_ns: int) -> list[tuple[str, int, Taken]]:
        """Hand a frame's deltas to their live requests; return (request id, attempt, taken) of those to be recorded."""
        shares = []
        fenced = 0
        for delta in frame.deltas:
            live = self._live.get(delta.request_id)
            if live is None:
                fenced += 1
                continue
            try:
                taken = live.take(delta, frame, now_ns)
            except OutOfStep as error:
                live.lose(str(error))
                continue
            if taken is None:
                fenced += 1
                continue
            live.journal.decoded_by(frame.fingerprint, frame.shard)
            self.last_token_ns[frame.model] = now_ns
            if not live.intake.request.probe:
                shares.append((delta.request_id, delta.attempt, taken))
        self._fence(frame.model, fenced, "older_attempt")
        return shares

    def _fence(self, model: str, deltas: int, reason: str) -> None:
        if deltas:
            self.fenced += deltas
            self._publisher.count(model, "fenced_frames", reason, deltas)
