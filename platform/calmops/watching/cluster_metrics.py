"""Makes metrics of the roster: gangs, and what their nodes report of themselves. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric as Family

from calmops.foundation import metric_names as names
from calmops.messages.roster import NodeFacts, Roster
from calmops.telemetry.exposition.prometheus import plain

NODE_CHARS = 12  # of a node's id, shown in labels


def cluster_families(roster: Roster, alive: Mapping[str, bool]) -> Iterator[Family]:
    """Yield every family, empty ones included. ``alive`` says, by node id, whether a node that Ray knows lives."""
    states = Counter("alive" if lives else "dead" for lives in alive.values())
    gangs = Counter(
        (gang.model, gang.node_id[:NODE_CHARS], "draining" if gang.replica_id in roster.draining else "serving")
        for gang in roster.gangs
    )
    nodes: dict[str, NodeFacts] = {}
    # All gangs of a node report the same facts, but the last report of one that died may be older. Kills only grow.
    for gang in roster.gangs:
        name = gang.node_id[:NODE_CHARS]
        nodes[name] = max(nodes.get(name, gang.node), gang.node, key=lambda facts: facts.oom_kills or 0)
    gpus = [([node, str(gpu.index)], gpu) for node, facts in sorted(nodes.items()) for gpu in facts.gpus]
    yield plain(names.GANGS, [([*labels], count) for labels, count in sorted(gangs.items())])
    yield plain(names.NODES, [([state], count) for state, count in sorted(states.items())])
    yield plain(
        names.OOM_KILLS,
        [([node], facts.oom_kills) for node, facts in sorted(nodes.items()) if facts.oom_kills is not None],
    )
    yield plain(names.GPU_USED, [(labels, gpu.memory_used_bytes) for labels, gpu in gpus])
    yield plain(names.GPU_TOTAL, [(labels, gpu.memory_total_bytes) for labels, gpu in gpus])
    yield plain(names.GPU_BUSY, [(labels, gpu.busy) for labels, gpu in gpus])
