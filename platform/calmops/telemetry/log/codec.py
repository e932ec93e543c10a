"""Envelopes to bytes and back (MessagePack). Between gateway and spool, and between spool or Kafka and meter."""

import msgspec

from calmops.foundation.errors import CalmopsError
from calmops.messages.record import SCHEMA, Envelope, Record


class RecordError(CalmopsError):
    """Bytes that aren't a telemetry record of the version that this release reads. ``place``: its source and seq, if it says so."""

    def __init__(self, message: str, place: tuple[str, int] | None = None) -> None:
        super().__init__(message)
        self.place = place


class UnknownSchema(RecordError):
    """A record of another schema version. Upgrade the meter before the gateways."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    schema: str
    source: str
    seq: int


_encoder = msgspec.msgpack.Encoder()
_envelopes = msgspec.msgpack.Decoder(Envelope)
_heads = msgspec.msgpack.Decoder(_Head)


def encode(source: str, seq: int, record: Record) -> bytes:
    """The bytes of one record as ``source`` number ``seq`` (from 1)."""
    return _encoder.encode(Envelope(SCHEMA, source, seq, record))


def decode(body: bytes) -> Envelope:
    """The envelope in ``body``. Raises UnknownSchema on another version, RecordError on anything else."""
    try:
        envelope = _envelopes.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _explain(body, error) from error
    if envelope.schema != SCHEMA:
        raise _unknown(_Head(envelope.schema, envelope.source, envelope.seq))
    return envelope


def _explain(body: bytes, error: Exception) -> RecordError:
    try:
        head = _heads.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return RecordError(f"not a telemetry record ({len(body)} bytes): {error}")
    if head.schema != SCHEMA:
        return _unknown(head)
    return RecordError(
        f"record {head.seq} of source {head.source!r} does not fit {SCHEMA}: {error}", (head.source, head.seq)
    )


def _unknown(head: _Head) -> UnknownSchema:
    return UnknownSchema(
        f"record has schema {head.schema!r}, this release reads {SCHEMA!r}: upgrade the meter", (head.source, head.seq)
    )
