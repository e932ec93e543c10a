"""This module alone knows ZeroMQ, which carries plans from rank 0 to its ranks and frames from replicas to gateways.

No send here ever waits for a peer: it reports a full queue instead. Addresses on one node are abstract sockets
(``ipc://@name``), which leave nothing behind after a SIGKILL. Off loopback, every frame channel is encrypted and
authenticated with the gateway's CURVE key.
"""

import asyncio
import os
from collections.abc import Callable

import zmq
from msgspec import Struct

FRAMES_QUEUED = 4000  # messages per link before it counts as slow: about a minute of steps
CLOSE_LINGER_MS = 100


class Channel(Struct, frozen=True, kw_only=True):
    """Names where a gateway takes frames: its address and, off loopback, its public key (Z85, 40 characters)."""

    address: str
    public_key: str | None = None


def rank_address(gang_id: str, rank: int) -> str:
    """Return the abstract address on which ``rank`` of a gang waits for plans."""
    return f"ipc://@calmops-{gang_id}-{rank}"


class PlanSender:
    """Sends rank 0's plans over a one-way PAIR to each other rank. Not thread-safe: the engine thread owns it."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._context = zmq.Context(io_threads=1)
        self._sockets = []
        for address in addresses:
            socket = self._context.socket(zmq.PAIR)
            # The steps bound this queue: the all-reduce keeps ranks within one step of each other.
            socket.set_hwm(0)
            socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
            socket.bind(address)
            self._sockets.append(socket)

    def send(self, body: bytes) -> None:
        """Hand one encoded plan to every rank."""
        for socket in self._sockets:
            socket.send(body, copy=True)

    def close(self) -> None:
        """Close every socket."""
        for socket in self._sockets:
            socket.close()
        self._context.term()


class PlanReceiver:
    """Receives rank 0's plans on another rank."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address)

    def receive(self) -> bytes:
        """Wait for the next plan, asleep in the kernel. If none ever comes, the gang's reaper ends the wait."""
        return bytes(self._socket.recv())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._context.term()


class FrameServer:
    """Receives frames on a gateway's event loop; calls ``on_message(link, body)`` for every message, in order."""

    def __init__(self, on_message: Callable[[bytes, bytes], None], *, host: str | None = None) -> None:
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set_hwm(FRAMES_QUEUED)
        self._socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._on_message = on_message
        self._loop: asyncio.AbstractEventLoop | None = None
        self.unsent = 0
        self.channel = self._bind(host)
        self._descriptor = int(self._socket.getsockopt(zmq.FD))

    def _bind(self, host: str | None) -> Channel:
        if host is None:
            address = f"ipc://@calmops-gateway-{os.getpid()}-{os.urandom(4).hex()}"
            self._socket.bind(address)
            return Channel(address=address)
        public, secret = zmq.curve_keypair()
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        port = self._socket.bind_to_random_port(f"tcp://{host}")
        return Channel(address=f"tcp://{host}:{port}", public_key=public.decode())

    def start(self) -> None:
        """Begin to receive on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._drain)
        self._loop.call_soon(self._drain)  # the descriptor is edge-triggered

    def send(self, link: bytes, body: bytes) -> bool:
        """Send to one replica's link. Return False, counted in ``unsent``, if it is gone or its queue is full."""
        try:
            self._socket.send_multipart((link, body), zmq.NOBLOCK)
        except zmq.ZMQError:
            self.unsent += 1
            return False
        if self._loop is not None:
            self._loop.call_soon(self._drain)  # a send may have consumed the edge
        return True

    def close(self) -> None:
        """Stop receiving and close the socket."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
        self._socket.close()
        self._context.term()

    def _drain(self) -> None:
        if self._socket.closed:
            return
        for _ in range(1000):
            try:
                link, body = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._on_message(link, body)
        assert self._loop is not None
        self._loop.call_soon(self._drain)  # let other callbacks run before the rest


class FrameLink:
    """Connects a replica to one gateway's channel. Not thread-safe: the engine thread owns it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set_hwm(FRAMES_QUEUED)
        self._socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
        if channel.public_key is not None:
            public, secret = zmq.curve_keypair()
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, channel.public_key.encode())
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        self._socket.connect(channel.address)

    def send(self, body: bytes) -> bool:
        """Hand over one message. Return False if the gateway's queue is full."""
        try:
            self._socket.send(body, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes]:
        """Return all messages that have arrived."""
        bodies: list[bytes] = []
        while True:
            try:
                bodies.append(bytes(self._socket.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return bodies

    def wait(self, timeout_ms: int) -> bool:
        """Sleep until a message is there. Return False if none came in time."""
        return bool(self._socket.poll(timeout_ms))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def ask(channel: Channel, body: bytes, timeout_ms: int) -> bytes | None:
    """Send one message over a link of its own and return its one answer, or None if none comes in time. Blocks."""
    link = FrameLink(channel)
    try:
        return link.receive()[0] if link.send(body) and link.wait(timeout_ms) else None
    finally:
        link.close()


class LinkWaiter:
    """Lets the engine thread sleep until a link receives a message or another thread calls ``wake``."""

    def __init__(self) -> None:
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._event_fd, zmq.POLLIN)

    def add(self, link: FrameLink) -> None:
        """Add a link to wait for."""
        self._poller.register(link._socket, zmq.POLLIN)

    def discard(self, link: FrameLink) -> None:
        """Stop waiting for a link."""
        self._poller.unregister(link._socket)

    def wake(self) -> None:
        """End the current wait, or the next one. Any thread may call it."""
        os.eventfd_write(self._event_fd, 1)

    def wait(self, timeout_ms: int) -> None:
        """Sleep until a message arrives or ``wake`` is called, ``timeout_ms`` at most."""
        self._poller.poll(timeout_ms)
        try:
            os.eventfd_read(self._event_fd)
        except BlockingIOError:
            return
