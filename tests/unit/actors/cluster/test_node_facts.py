"""A node reports its out-of-memory kills and its GPUs."""

import time
from pathlib import Path

from actors.cluster.node_facts import NodeReader, oom_kills


def test_the_kernels_count_of_kills_is_read_if_the_kernel_has_one(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 5\noom_kill 7\n")
    assert oom_kills(vmstat) == 7
    vmstat.write_text("nr_free_pages 5\n")
    assert oom_kills(vmstat) is None
    assert oom_kills(tmp_path / "none") is None


def test_a_node_is_read_on_a_thread_of_its_own() -> None:
    reader, until_s = NodeReader(), time.monotonic() + 60
    while reader.facts.oom_kills is None:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    reader.close()
