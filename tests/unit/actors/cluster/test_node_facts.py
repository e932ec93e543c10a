"""What a node says of itself."""

import time
from pathlib import Path

from actors.cluster.node_facts import NodeReader, oom_kills


def test_a_node_without_a_gpu_says_nothing_of_one_and_its_kernel_counts_kills(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 5\noom_kill 7\n")
    assert oom_kills(vmstat) == 7
    vmstat.write_text("nr_free_pages 5\n")
    assert oom_kills(vmstat) is None
    assert oom_kills(tmp_path / "none") is None
    reader, until_s = NodeReader(), time.monotonic() + 60
    while reader.facts.oom_kills is None:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    reader.close()
