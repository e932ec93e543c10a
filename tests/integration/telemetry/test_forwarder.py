"""Tests the forwarder on a real spool, with a session to the log that can be made to fail."""

import time
from pathlib import Path

import pytest

from calmops.foundation.config_sections import KafkaConfig
from calmops.telemetry.log import forwarder as forwarder_module
from calmops.telemetry.log.forwarder import Forwarder
from calmops.telemetry.log.spool import Spool
from calmops.telemetry.settings import KafkaSettings
from tests.support.telemetry_records import T0_NS, frame


class Session:
    """Stands in for a session to the log; the first one made acknowledges nothing."""

    made: list["Session"]

    def __init__(self, _settings: KafkaSettings) -> None:
        self.stuck = not self.made
        self.made.append(self)
        self.sent = 0
        self.closed = False

    def send(self, _source: str, _body: bytes) -> None:
        self.sent += 1

    def flush(self, _timeout_s: float) -> bool:
        return not self.stuck

    def take_too_large(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True


def test_a_session_that_acknowledges_nothing_is_replaced_and_its_records_are_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "made", [], raising=False)
    monkeypatch.setattr(forwarder_module, "KafkaWriter", Session)
    path = tmp_path / "gw.db"
    spool = Spool(path)
    spool.append([frame(step) for step in range(3)], T0_NS)
    forwarder = Forwarder(KafkaSettings(config=KafkaConfig(bootstrap_servers="127.0.0.1:9")), lambda: [path])
    forwarder.start()
    until_s = time.monotonic() + 10
    while spool.mark("kafka") < 3:
        assert time.monotonic() < until_s, f"mark {spool.mark('kafka')}, sessions {len(Session.made)}"
        time.sleep(0.02)  # the forwarder has a thread of its own
    forwarder.stop()
    assert [(session.sent, session.closed) for session in Session.made] == [(3, True), (3, True)]
    assert forwarder.stats()["forwarded"] == 3
