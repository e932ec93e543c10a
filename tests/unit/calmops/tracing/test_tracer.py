"""The tracer reads trace context, selects the traces to keep and sends them whole."""

import random
from typing import Any

import msgspec
import pytest

from calmops.tracing.context import (
    TraceContext,
    baggage_header,
    begin,
    forwarded_headers,
    parse,
    parse_baggage,
    traceparent,
)
from calmops.tracing.spans import Span
from calmops.tracing.trace_selection import LEAST, TailSampler
from calmops.tracing.tracer import Tracer, context_of
from tests.support.trace_records import MS, closed, opened, step

NEVER = TraceContext((1 << 128) - 1, 1, 0, sampled=False)  # no share keeps it


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ({"outcome": "failed"}, "error"), ({"outcome": "timeout"}, "error"), ({"outcome": "lost_gateway"}, "error"),
        ({"attempts": 2}, "migrated"), ({"ledger": "unknown"}, "ledger"), ({"exact_lost": True}, "ledger"),
        ({"outcome": "client_cancelled"}, None), ({}, None),
    ],
)  # fmt: skip
def test_failed_and_migrated_requests_are_always_kept(ending: dict[str, Any], reason: str | None) -> None:
    assert TailSampler(share=0.0).keep(closed(100, **ending), NEVER) == reason


def test_a_callers_sampled_trace_and_a_share_of_the_others_are_kept() -> None:
    sampler = TailSampler(share=0.05)
    assert sampler.keep(closed(100), NEVER._replace(sampled=True)) == "caller"
    kept = [sampler.keep(closed(100), begin(f"r{number}", number)) for number in range(4000)]
    assert set(kept) == {None, "share"}
    assert 0.03 < kept.count("share") / len(kept) < 0.07


def test_the_slowest_requests_are_kept_by_their_first_token_or_their_others() -> None:
    sampler, drawn = TailSampler(share=0.0, slowest=0.01), random.Random(0)
    usual = [sampler.keep(closed(100, ttft_ns=drawn.randrange(10 * MS, 20 * MS)), NEVER) for _ in range(3000)]
    assert set(usual[:LEAST]) == {None}
    assert 0.003 < usual[LEAST:].count("slow") / 2900 < 0.03
    assert sampler.keep(closed(100, ttft_ns=30 * MS), NEVER) == "slow"
    assert sampler.keep(closed(900), NEVER) == "slow"
    assert sampler.keep(closed(900, delivered=500, ttft_ns=15 * MS), NEVER) is None, "long, but no token was late"


def test_a_kept_trace_is_sent_whole_and_once_and_has_its_reason() -> None:
    sent: list[list[Span]] = []
    tracer = Tracer(TailSampler(share=0.0), sent.append)
    for record in (opened(), step(10), step(20), closed(50, outcome="failed"), closed(50, outcome="failed"), step(60)):
        tracer.see(record)
    ((request, *children),) = sent
    assert request.attributes["calmops.kept"] == "error"
    assert [span.name for span in children] == ["queue", "prefill", "decode"]
    assert tracer.kept == {"error": 1}


def test_the_request_that_is_open_longest_makes_room_and_is_counted_as_lost() -> None:
    sent: list[list[Span]] = []
    tracer = Tracer(TailSampler(share=1.0), sent.append, max_live=2)
    for number in range(3):
        tracer.see(opened(f"r{number}"))
    for number in range(3):
        tracer.see(closed(10, request_id=f"r{number}"))
    assert [trace[0].attributes["calmops.request_id"] for trace in sent] == ["r1", "r2"]
    assert tracer.lost == 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "junk",
        f"ff-{'1' * 32}-{'1' * 16}-01",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"00-{'A' * 32}-{'1' * 16}-01",
    ],
)
def test_a_header_that_the_standard_forbids_is_no_trace(header: str | None) -> None:
    assert parse(header) is None


def test_a_traceparent_is_written_as_it_was_read() -> None:
    header = f"00-{'ab' * 16}-{'cd' * 8}-01"
    caller = parse(header)
    assert caller is not None
    assert traceparent(caller.trace_id, caller.span_id, sampled=caller.sampled) == header
    assert parse(f"cc-{'ab' * 16}-{'cd' * 8}-01-what.the.future.brings") == caller


def test_only_the_wanted_baggage_is_kept() -> None:
    header = "tenant=a%20b;secret=1, user = u1 ,junk,x=1"
    kept = parse_baggage(header, ("tenant", "user"))
    assert kept == {"tenant": "a b", "user": "u1"} == parse_baggage(baggage_header(kept), ("tenant", "user"))
    assert baggage_header({"tenant": "a,b\r\nx: y"}) == "tenant=a%2Cb%0D%0Ax%3A%20y", "it can't leave its header"
    assert parse_baggage(header, ()) == parse_baggage(None, ("tenant",)) == {}
    assert parse_baggage("tenant=1," * 2000, ("tenant",)) == {}


def test_only_headers_that_the_standard_allows_are_forwarded() -> None:
    theirs, ours = f"cc-{'ab' * 16}-{'cd' * 8}-03-{'x' * 5000}", {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    assert forwarded_headers({"traceparent": theirs}) == ours
    assert forwarded_headers({"traceparent": theirs, "tracestate": "a=1, t@b=2"}) == {
        **ours,
        "tracestate": "a=1, t@b=2",
    }
    for state in (
        "",
        "a=" + "x" * 511,
        "a=\r\nx: y",
        "a=é",
        "a=1,a=2",
        "a=1,junk",
        ",".join(f"k{n}=1" for n in range(33)),
    ):
        assert forwarded_headers({"traceparent": theirs, "tracestate": state}) == ours
    assert forwarded_headers({"traceparent": "junk", "tracestate": "a=1"}) == forwarded_headers({}) == {}


def test_a_request_belongs_to_its_callers_trace() -> None:
    request = msgspec.structs.replace(opened(), traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
    context = context_of(request)
    assert (context.trace_id, context.parent_id, context.sampled) == (int("ab" * 16, 16), int("cd" * 8, 16), True)
    assert context_of(opened()).parent_id == 0
    another = context_of(msgspec.structs.replace(request, request_id="another"))
    assert another.trace_id == context.trace_id
    assert (
        len({context.span_id, another.span_id, context.child_span_id("decode/1"), another.child_span_id("decode/1")})
        == 4
    )
