"""A request's books are opened once and closed once, and a refused request is counted."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.gateway.live_request import LiveRequest
from actors.gateway.request_lifecycle import RequestLifecycle
from calmops.foundation.errors import LoadError, TokenizationError, UnavailableError
from calmops.foundation.model_labels import ModelLabels
from calmops.intake.admission import Admission
from calmops.messages.record import Closed, Opened, Record
from tests.support.live_requests import intake, place, say

LABELS = ModelLabels("m", "r1", "stable", "base", "production")


class Publisher:
    """Keeps what is published and counted; ``committed`` says whether an opening record is committed in time."""

    def __init__(self) -> None:
        self.labels = {"m": LABELS}
        self.committed = True
        self.records: list[Record] = []
        self.counted: list[tuple[str, str, str]] = []

    async def open(self, record: Opened) -> bool:
        self.records.append(record)
        return self.committed

    def publish(self, record: Record) -> bool:
        self.records.append(record)
        return True

    def count(self, model: str, name: str, reason: str) -> None:
        self.counted.append((model, name, reason))


class Gateway:
    """A request lifecycle with fakes around it, and room for two requests."""

    def __init__(self) -> None:
        self.publisher = Publisher()
        self.live: list[LiveRequest] = []
        self.logged: list[tuple[Any, ...]] = []
        self.disabled: set[str] = set()
        parts: dict[str, Any] = {
            "publisher": self.publisher,
            "request_log": SimpleNamespace(
                note_ended=lambda live, closed: self.logged.append((live.request_id, closed.outcome)),
                note_refused=lambda *facts: self.logged.append(facts),
            ),
            "attempts": SimpleNamespace(begin=self.live.append, end=self.live.remove),
            "roster": SimpleNamespace(refuse_disabled=self._refuse_disabled),
        }
        self.lifecycle = RequestLifecycle(gateway_id="gw", environment="test", admission=Admission(2), **parts)

    def _refuse_disabled(self, model: str) -> None:
        if model in self.disabled:
            raise UnavailableError(f"model {model!r} was taken out of service")

    def closed(self) -> Closed:
        record = self.publisher.records[-1]
        assert isinstance(record, Closed)
        return record


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def test_an_accepted_request_is_recorded_before_it_begins(gateway: Gateway) -> None:
    live = await gateway.lifecycle.accept(intake(kind="chat", prompt_chars=9))
    (opened,) = gateway.publisher.records
    assert isinstance(opened, Opened)
    assert (opened.request_id, opened.kind, opened.labels) == ("r", "chat", LABELS.rest)
    assert (opened.prompt_tokens, opened.prompt_chars, opened.max_tokens) == (2, 9, 4)
    assert gateway.live == [live]
    assert live.journal.ledger_held


async def test_a_request_whose_record_was_not_committed_is_served_with_an_unknown_ledger(gateway: Gateway) -> None:
    gateway.publisher.committed = False
    live = await gateway.lifecycle.accept(intake())
    gateway.lifecycle.close(live)
    assert gateway.closed().ledger == "unknown"


async def test_a_disabled_model_takes_no_request_and_nothing_has_begun(gateway: Gateway) -> None:
    gateway.disabled.add("m")
    with pytest.raises(UnavailableError):
        await gateway.lifecycle.accept(intake())
    assert (gateway.live, gateway.publisher.records) == ([], [])


async def test_a_request_beyond_the_bound_is_refused_until_another_is_closed(gateway: Gateway) -> None:
    first = await gateway.lifecycle.accept(intake("a"))
    await gateway.lifecycle.accept(intake("b"))
    with pytest.raises(LoadError):
        await gateway.lifecycle.accept(intake("c"))
    gateway.lifecycle.close(first)
    await gateway.lifecycle.accept(intake("d"))
    assert [live.request_id for live in gateway.live] == ["b", "d"]


async def test_closing_records_what_was_delivered_and_what_was_not(gateway: Gateway) -> None:
    live = await gateway.lifecycle.accept(intake())
    say(live, "x")
    say(live, "y")
    live.end(outcome="client_cancelled")
    gateway.lifecycle.close(live, unsent=1)
    closed = gateway.closed()
    assert (closed.outcome, closed.journaled, closed.delivered, closed.discarded) == ("client_cancelled", 2, 1, 1)
    assert gateway.logged == [("r", "client_cancelled")]
    assert gateway.live == []


async def test_a_failed_request_is_recorded_with_the_reason(gateway: Gateway) -> None:
    live = await gateway.lifecycle.accept(intake())
    live.end(UnavailableError("gave the request up"))
    gateway.lifecycle.close(live)
    assert (gateway.closed().outcome, gateway.closed().detail) == ("failed", "gave the request up")


async def test_every_attempt_after_the_first_and_lost_exactness_are_counted(gateway: Gateway) -> None:
    live = await gateway.lifecycle.accept(intake())
    for fingerprint in ("f", "f", "other"):
        place(live)
        live.journal.decoded_by(fingerprint, 0)
    gateway.lifecycle.close(live)
    assert gateway.publisher.counted == [
        ("m", "migrations", "replica_lost"), ("m", "migrations", "replica_lost"),
        ("m", "exact_lost", "other_fingerprint"),
    ]  # fmt: skip


async def test_a_probe_leaves_no_record_and_no_log_line(gateway: Gateway) -> None:
    live = await gateway.lifecycle.accept(intake(probe=True))
    gateway.lifecycle.close(live)
    assert (gateway.live, gateway.publisher.records, gateway.logged) == ([], [], [])
    for name in ("a", "b"):  # there is room for two again
        await gateway.lifecycle.accept(intake(name))


def test_a_refused_request_is_recorded_under_the_labels_that_are_known(gateway: Gateway) -> None:
    gateway.lifecycle.refuse("refused_input", "r-1")
    assert (gateway.closed().model, gateway.closed().labels) == ("unknown", ModelLabels(environment="test").rest)
    gateway.lifecycle.refuse("refused_load", "r-2", "m")
    assert (gateway.closed().outcome, gateway.closed().labels) == ("refused_load", LABELS.rest)
    assert gateway.logged == [("r-1", "unknown", "refused_input"), ("r-2", "m", "refused_load")]


def test_a_text_that_broke_the_tokenizer_is_counted_by_stage(gateway: Gateway) -> None:
    gateway.lifecycle.refuse_untokenized(TokenizationError("broke", model="m", stage="encode"), "r-1")
    assert gateway.publisher.counted == [("m", "tokenization_errors", "encode")]
    assert gateway.closed().outcome == "failed"
