"""The roster is shown as metrics."""

from prometheus_client.parser import text_string_to_metric_families

from calmops.messages.roster import GangEntry, GpuFacts, NodeFacts, Roster
from calmops.telemetry.exposition.prometheus import rendered
from calmops.watching.cluster_metrics import cluster_families


def gang(number: int, node: NodeFacts) -> GangEntry:
    return GangEntry(
        model="m",
        replica_id=f"r{number}",
        gang_id=f"g{number}",
        node_id=f"node-{number // 2}-long-enough",
        members=(),
        fingerprint="f",
        tp=1,
        node=node,
    )


def test_gangs_are_counted_by_state_and_a_nodes_facts_once() -> None:
    facts = NodeFacts(oom_kills=3, gpus=(GpuFacts(index=0, memory_used_bytes=5, memory_total_bytes=10, busy=0.4),))
    roster = Roster(gangs=(gang(0, facts), gang(1, facts), gang(2, NodeFacts())), draining=("r1",))
    alive = {"node-0-long-enough": True, "node-1-long-enough": True, "node-2-long-gone": False}
    text = rendered(list(cluster_families(roster, alive))).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}
    node, model = ("node", "node-0-long-"), ("model", "m")
    assert values == {
        ("calmops_gangs", model, node, ("state", "serving")): 1,
        ("calmops_gangs", model, node, ("state", "draining")): 1,
        ("calmops_gangs", model, ("node", "node-1-long-"), ("state", "serving")): 1,
        ("calmops_nodes", ("state", "alive")): 2,
        ("calmops_nodes", ("state", "dead")): 1,
        ("calmops_oom_kills_total", node): 3,
        ("calmops_gpu_memory_used_bytes", ("gpu", "0"), node): 5,
        ("calmops_gpu_memory_total_bytes", ("gpu", "0"), node): 10,
        ("calmops_gpu_busy_ratio", ("gpu", "0"), node): 0.4,
    }
