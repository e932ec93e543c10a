"""A gateway around a real frame exchange: its frame server, its publisher and its reports are fakes that note."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec

from actors.gateway.frame_exchange import FrameExchange
from actors.gateway.live_request import LiveRequest
from actors.gateway.routing_book import RoutingBook
from calmops.foundation.clock import ManualClock
from calmops.foundation.sockets import Channel
from calmops.messages.frame import FromGateway
from calmops.messages.placement import Placement
from calmops.messages.record import Record
from calmops.streams.gang_liveness import GangLiveness
from tests.support.live_requests import frame, intake, live_request, place

STALL_NS = 500_000_000
TICK_NS = STALL_NS // 5
encode = msgspec.msgpack.encode
decode = msgspec.msgpack.Decoder(FromGateway).decode


class Server:
    """Stands in for the frame server: keeps what is sent, by link."""

    channel = Channel(address="ipc://@here")

    def __init__(self, on_message: Callable[[bytes, bytes], None]) -> None:
        self.on_message = on_message
        self.sent: list[tuple[bytes, bytes]] = []
        self.running = False

    def start(self) -> None:
        self.running = True

    def close(self) -> None:
        self.running = False

    def send(self, link: bytes, body: bytes) -> bool:
        self.sent.append((link, body))
        return True


class Publisher:
    """Keeps what is published and counted."""

    gateway_id = "gw"

    def __init__(self) -> None:
        self.labels: dict[str, Any] = {}
        self.records: list[Record] = []
        self.counted: list[tuple[str, str, str, int]] = []

    def publish(self, record: Record) -> bool:
        self.records.append(record)
        return True

    def count(self, model: str, name: str, reason: str, value: int = 1) -> None:
        self.counted.append((model, name, reason, value))


class Gateway:
    """A frame exchange with everything around it, and gangs that speak to it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.book, self.publisher = clock, RoutingBook(), Publisher()
        self.reports: list[tuple[str, str]] = []
        self.exchange = FrameExchange(
            self.publisher,  # type: ignore[arg-type]  # it has what the exchange uses
            GangLiveness(STALL_NS, lambda _replica: True),
            self.book,
            SimpleNamespace(gang_lost=lambda gang_id, why: self.reports.append((gang_id, why))),
            Server,  # type: ignore[arg-type]  # it too
        )
        self.server: Server = self.exchange._server  # type: ignore[assignment]
        self._link_seqs: dict[str, int] = {}

    def hear(self, *deltas: Any, gang: str = "g1", skip: int = 0, **changes: Any) -> None:
        """Take the gang's next frame; ``skip`` frames before it got lost."""
        self._link_seqs[gang] = self._link_seqs.get(gang, 0) + 1 + skip
        step = frame(*deltas, gang=gang, link_seq=self._link_seqs[gang], **changes)
        self.server.on_message(gang.encode(), encode(step))

    def begin(self, request_id: str = "r", gang: str = "g1", **fields: Any) -> tuple[LiveRequest, Placement]:
        """Return a live request whose attempt went to this gang's replica."""
        live = live_request(intake(request_id, **fields))
        placement = place(live)
        self.exchange.add(live)
        self.book.note_route(placement, f"replica-{gang}")
        return live, placement

    def pass_time(self, span_ns: int) -> None:
        """Let time pass, tick by tick."""
        for _ in range(span_ns // TICK_NS):
            self.clock.advance(TICK_NS)
            self.exchange.tick()

    def sent(self, kind: type) -> list[tuple[bytes, Any]]:
        """Return the messages of this kind that were sent, by link."""
        messages = [(link, decode(body)) for link, body in self.server.sent]
        return [(link, message) for link, message in messages if isinstance(message, kind)]
