"""Tests that release 0.1's state, spool, topic and evaluator's sums are read with equal totals.

tests/data/upgrade/0.1-27ad56b.tar.xz was written by a platform of commit 27ad56b under a mixed load: in spool/ without
Kafka (meter.db saved half-way, the spool and /metrics from the end), in kafka/ with it (the topic, and all at the end).
"""

import tarfile
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.metric_names import COUNTING_SINCE, FOLDED, METRICS
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation import saved_sums
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.log import codec
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from calmops.telemetry.metering.meter import Meter
from calmops.telemetry.metering.stored_edges import EDGES, move_to_edges
from calmops.telemetry.settings import TelemetrySettings

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "upgrade" / "0.1-27ad56b.tar.xz"
# Idle heartbeats went on after /metrics was read. Gauges show the moment and aren't compared either.
NOT_COMPARED = {FOLDED.name, COUNTING_SINCE.name}
COUNTED = {metric.name for metric in METRICS if metric.kind != "gauge"} - NOT_COMPARED
Totals = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("left")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def totals(text: str) -> Totals:
    """Return every counter's and every bucket's value, by name and labels."""
    families = [family for family in text_string_to_metric_families(text) if _name(family.name) in COUNTED]
    samples = [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def _name(family: str) -> str:
    return family if family in COUNTED else f"{family}_total"


def metered(state: Path, spools: Path) -> Totals:
    """Return what a meter of this release shows with this state once it has read these spools."""
    meter = Meter(TelemetrySettings(folder=spools), state)
    while meter.advance():
        pass
    text = meter.look(exposition).decode()
    meter.stop()
    return totals(text)


def spools_of(left: Path, tmp_path: Path) -> Path:
    spools = tmp_path / "spool"
    spools.mkdir()
    for spool in (left / "spool").glob("gw-*.db"):
        (spools / spool.name).write_bytes(spool.read_bytes())
    return spools


def test_a_saved_state_is_continued(left: Path, tmp_path: Path) -> None:
    (tmp_path / "meter.db").write_bytes((left / "spool" / "meter.db").read_bytes())
    shown = totals((left / "spool" / "metrics.txt").read_text())
    assert sum(value for (name, _), value in shown.items() if name == "calmops_tokens_total") > 1000
    assert metered(tmp_path / "meter.db", spools_of(left, tmp_path)) == shown


def test_without_a_state_the_spool_gives_the_same_totals(left: Path, tmp_path: Path) -> None:
    shown = totals((left / "spool" / "metrics.txt").read_text())
    assert metered(tmp_path / "none.db", spools_of(left, tmp_path)) == shown


def test_the_topics_records_give_the_same_totals(left: Path) -> None:
    rows = msgspec.msgpack.decode((left / "kafka" / "topic.msgpack").read_bytes())
    counts = Counts()
    for _topic, _partition, _offset, _timestamp, _key, value, _headers in rows:
        fold(counts, codec.decode(value))
    assert totals(exposition(counts).decode()) == totals((left / "kafka" / "metrics.txt").read_text())


def test_a_state_moves_to_other_bucket_edges_and_loses_no_count(left: Path, tmp_path: Path) -> None:
    finer = {**EDGES, "inter_token": tuple(sorted({*EDGES["inter_token"], 1_000_000, 2_000_000, 5_000_000}))}
    coarser = {**EDGES, "inter_token": EDGES["inter_token"][1::2]}
    (tmp_path / "meter.db").write_bytes((left / "spool" / "meter.db").read_bytes())
    meter = Meter(TelemetrySettings(folder=tmp_path / "none"), tmp_path / "meter.db")
    counts = meter.look(lambda counts: counts)
    (before,) = (shard for by in counts.shards.values() for number, shard in by.items() if number == 0)
    buckets, total = list(before.gap_gateway.buckets), before.gap_gateway.sum
    for edges in (finer, coarser, EDGES):
        assert move_to_edges(counts, edges) == ["inter_token"]
        assert len(before.gap_gateway.buckets) == len(edges["inter_token"]) + 1
        assert (sum(before.gap_gateway.buckets), before.gap_gateway.sum) == (sum(buckets), total)
        if edges is finer:
            kept = [before.gap_gateway.buckets[edges["inter_token"].index(edge)] for edge in EDGES["inter_token"]]
            assert kept == buckets[:-1], "a count whose edge is still there keeps it"
    meter.stop()


def test_the_evaluators_sums_are_read(left: Path) -> None:
    sums = saved_sums.read(left / "spool" / "evaluator.msgpack")
    model = ModelLabels("stdlib-5m", "74108c243f2a", "stable", "base", "local")
    assert {entry.labels for entry in sums if entry.objective == "request-success"} == {
        model,
        *(ShardLabels(model, shard) for shard in ("0", "none")),
    }
