"""Tests the codec of records: to bytes and back; bytes of another format are refused with a typed error."""

import contextlib
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmops import telemetry
from calmops.messages.record import SCHEMA, Record
from calmops.telemetry.log.codec import RecordError, UnknownSchema, decode, encode
from tests.support.telemetry_records import any_record, closed, frame


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), st.integers(1, 2**62), any_record)
def test_every_record_is_the_same_after_the_way_to_bytes_and_back(source: str, seq: int, record: Record) -> None:
    envelope = decode(encode(source, seq, record))
    assert (envelope.schema, envelope.source, envelope.seq, envelope.record) == (SCHEMA, source, seq, record)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_typed_error(body: bytes) -> None:
    with contextlib.suppress(RecordError):
        decode(body)


@given(any_record, st.data())
def test_a_cut_or_flipped_record_never_gives_an_untyped_error(record: Record, data: st.DataObject) -> None:
    body = bytearray(encode("gw", 7, record))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(body), bytes(body[:at])):
        with contextlib.suppress(RecordError):
            decode(damaged)


def test_another_schema_version_is_named_with_the_remedy() -> None:
    body = msgspec.msgpack.encode(["calmops.telemetry/2", "gw", 3, {"type": "new"}])
    with pytest.raises(UnknownSchema, match=r"'calmops.telemetry/2'.*upgrade the meter") as refused:
        decode(body)
    assert refused.value.place == ("gw", 3)


def test_a_record_that_does_not_fit_names_its_source_and_number() -> None:
    body = msgspec.msgpack.encode([SCHEMA, "gw", 3, {"type": "closed"}])
    with pytest.raises(RecordError, match="record 3 of source 'gw'") as refused:
        decode(body)
    assert refused.value.place == ("gw", 3)
    with pytest.raises(RecordError) as garbage:
        decode(b"junk")
    assert garbage.value.place is None


def test_a_field_added_by_a_newer_release_of_the_same_schema_is_ignored() -> None:
    raw = msgspec.msgpack.decode(encode("gw", 1, closed("r")))
    raw[3]["added_later"] = 1
    assert decode(msgspec.msgpack.encode(raw)).record == closed("r")


def test_a_frame_of_32_sequences_takes_less_than_64_bytes_per_token() -> None:
    assert len(encode("gateway-1", 1_000_000, frame(100_000, sequences=32))) < 32 * 64


@pytest.mark.parametrize("kind", get_args(Record))
def test_the_schema_in_kafka_s_readme_names_every_field(kind: type[msgspec.Struct]) -> None:
    readme = Path(telemetry.__file__).parents[2] / "deploy" / "kafka" / "README.md"
    row = next(
        line for line in readme.read_text().splitlines() if line.startswith(f"| `{kind.__struct_config__.tag}` |")
    )
    assert not [name for name in kind.__struct_fields__ if f"`{name}`" not in row]
