"""Times one rank of a gang from a cold interpreter to its first token: ``python -m tests.support.engine.rank_start``.

Arguments: FOLDER TP RANK PORT. Each rank prints when it had imported everything, {"imported": Unix s}. At the end,
rank 0 prints {"import torch": seconds, ...} in order; the parts add up to the whole.
"""

import json
import sys
import time
from pathlib import Path

import psutil

BEGAN_S = psutil.Process().create_time()


class Stopwatch:
    """Measures the seconds of each part, from the end of the part before it."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last_s = BEGAN_S

    def ended(self, part: str) -> None:
        now_s = time.time()
        self.parts[part] = self.parts.get(part, 0.0) + now_s - self._last_s
        self._last_s = now_s


def main() -> None:
    watch = Stopwatch()
    folder, tp, rank, port = sys.argv[1], *map(int, sys.argv[2:5])
    import torch.distributed as dist

    watch.ended("import torch")
    import transformers.modeling_utils  # noqa: F401  timed alone

    watch.ended("import transformers")
    from calmops.engine import checkpoint, tensor_parallel
    from calmops.engine.backends import kernel
    from calmops.engine.engine import Engine, Follower
    from calmops.messages.plan import StepPlan
    from tests.support.engine.engine_settings import engine_settings
    from tests.support.engine.tiny_engine import placement

    watch.ended("import calmops")
    import deepspeed  # noqa: F401  timed alone

    watch.ended("import deepspeed")
    print(json.dumps({"imported": time.time()}), flush=True)
    tensor_parallel.join(rank, tp, port)
    watch.ended("join")
    _timed(watch, checkpoint, "shard", ("load", "shard"))
    _timed(watch, kernel, "pack", ("shard", "pack"))
    settings = engine_settings(folder=Path(folder), tp=tp, dtype="bfloat16", backend="kernel")
    box: list[StepPlan | None] = [None]

    def send(plan: StepPlan) -> None:
        if tp > 1:
            dist.broadcast_object_list([plan], 0)

    if rank:
        follower = Follower(settings, rank)
        dist.broadcast_object_list(box, 0)
        plan = box[0]
        assert plan is not None, "rank 0 sends a plan"
        follower._backend.step(plan)
        return
    engine = Engine.load(settings, send)
    watch.ended("pack")
    engine.submit(placement("first", (5, 6, 7), max_tokens=1))
    while (result := engine.step()) is not None and not any(
        one.token_ids for mine in result.deltas.values() for one in mine
    ):
        pass
    watch.ended("first token")
    print(json.dumps(watch.parts))


def _timed(watch: Stopwatch, module: object, name: str, parts: tuple[str, str]) -> None:
    """End a part of the watch when ``module.name`` is called, and another when it returns."""
    real = getattr(module, name)

    def timed(*given: object, **named: object) -> object:
        watch.ended(parts[0])
        result = real(*given, **named)
        watch.ended(parts[1])
        return result

    setattr(module, name, timed)


if __name__ == "__main__":
    main()
