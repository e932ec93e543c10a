"""Files of promises and prices are read again until they can be read."""

from pathlib import Path

import pytest

from calmops.foundation.config_sections import ObjectivesConfig
from calmops.watching.promise_files import AGAIN_S, PromiseFiles
from calmops.watching.watcher import Watcher


def test_files_that_somebody_is_editing_are_counted_and_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, folder = tmp_path / "prices.yaml", tmp_path / "promises"
    prices.write_text("currency: EU")
    (folder / "objectives").mkdir(parents=True)
    (folder / "objectives" / "half.yaml").write_bytes(b"apiVersion: \xff")
    watcher = Watcher()
    files = PromiseFiles(ObjectivesConfig(path=str(folder), prices_file=str(prices)), watcher)
    files.read()
    failures = [f'part="{part}"}} 1.0' in watcher.metrics().decode() for part in ("objectives", "prices", "roster")]
    assert failures == [True, True, False]
    prices.write_text("currency: EUR")
    files.read()
    assert watcher._costs.prices.currency == "XXX", "it isn't read at every turn"
    monkeypatch.setattr(files, "_next_s", -AGAIN_S)
    files.read()
    assert watcher._costs.prices.currency == "EUR"
    assert b'calmops_watch_failures_total{part="objectives"} 2.0' in watcher.metrics()


def test_the_shipped_promises_are_read_at_the_start() -> None:
    watcher = Watcher()
    files = PromiseFiles(ObjectivesConfig(), watcher)
    files.read()
    assert watcher._brought is not None and watcher._brought.objectives
    assert not files._readers
