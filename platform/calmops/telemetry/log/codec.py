"""Turns envelopes into bytes (MessagePack) on the way from gateway to spool, and back on the way to the meter.

Knows neither the spool nor Kafka.
"""

import msgspec

from calmops.foundation.errors import CalmopsError
from calmops.messages.record import SCHEMA, Envelope, Record


class RecordError(CalmopsError):
    """The bytes aren't a telemetry record of the schema version that this release reads.

    ``place`` is the record's source and seq, or None if the bytes don't name them.
    """

    def __init__(self, message: str, place: tuple[str, int] | None = None) -> None:
        super().__init__(message)
        self.place = place


class UnknownSchema(RecordError):
    """The record has another schema version. Upgrade the meter before the gateways."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    schema: str
    source: str
    seq: int


_encoder = msgspec.msgpack.Encoder()
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode(source: str, seq: int, record: Record) -> bytes:
    """Return the bytes of ``record`` as number ``seq`` (from 1) of ``source``."""
    return _encoder.encode(Envelope(SCHEMA, source, seq, record))


def decode(body: bytes) -> Envelope:
    """Return the envelope in ``body``. Raises UnknownSchema on another version, RecordError on anything else."""
    try:
        envelope = _envelope_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _record_error(body, error) from error
    if envelope.schema != SCHEMA:
        raise _unknown_schema(_Head(envelope.schema, envelope.source, envelope.seq))
    return envelope


def _record_error(body: bytes, error: Exception) -> RecordError:
    try:
        head = _head_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return RecordError(f"not a telemetry record ({len(body)} bytes): {error}")
    if head.schema != SCHEMA:
        return _unknown_schema(head)
    return RecordError(
        f"record {head.seq} of source {head.source!r} does not fit {SCHEMA}: {error}", (head.source, head.seq)
    )


def _unknown_schema(head: _Head) -> UnknownSchema:
    return UnknownSchema(
        f"record has schema {head.schema!r}, this release reads {SCHEMA!r}: upgrade the meter", (head.source, head.seq)
    )
