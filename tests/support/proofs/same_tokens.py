"""Shows that with `exact` a request's tokens are the same however it is run: what exact/same-tokens-* have in common.

The shipped model runs in four cells (tp 1, 2; greedy, sampled). Each request runs alone; in a mix with chunked prefill
beside other requests; in a wider mix whose prompts aren't cut; in a cache so small that it is preempted; and resumed
from its middle. None of the latter four may diverge from the first.
Without `exact`, and between tp 1 and tp 2 with it, divergences are counted, with the 95 % bound of their rate and the
margin of each: how far the two tokens' scores (log-probability over temperature, plus the sampling noise) lie apart, in
nats. More than NEAR_TIE is no tie and breaks the proof. The cost of `exact` is the ratio of its time to the fast
recipe's, measured in turns.
"""

import itertools
import random
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from calmops.engine.noise import gumbel
from calmops.messages.plan import StepPlan, Stop
from tests.support.engine.engine_settings import engine_settings
from tests.support.engine.real_ranks import run_gang
from tests.support.engine.tiny_checkpoints import DENSE_FAMILIES, make_checkpoint
from tests.support.engine.tiny_engine import Run, placement
from tests.support.proofs import kit

Dtype = Literal["float32", "bfloat16"]
NEAR_TIE: dict[Dtype, float] = {"float32": 0.001, "bfloat16": 0.25}  # nats; bfloat16 keeps 8 bits of a logit up to 30
MODEL = kit.ROOT / "platform" / "calmops" / "models" / "stdlib-5m"
MIX: dict[str, Any] = {"kv_blocks": 512, "max_sequences": 16, "max_rows_per_step": 64}
WIDE: dict[str, Any] = {"kv_blocks": 512, "max_sequences": 16, "max_rows_per_step": 512}
LOADED = WIDE  # the bounds that every run's bounds lie within
TIGHT: dict[str, Any] = {"kv_blocks": 40, "max_sequences": 16, "max_rows_per_step": 96}


def requests(count: int, longest: int, temperature: float, seed: int) -> list:
    rng = random.Random(seed)
    return [
        placement(
            f"r{n}", [rng.randrange(10, 4000) for _ in range(rng.choice((3, 20, 60, 150, 300)))], seed=n,
            temperature=temperature, max_tokens=rng.randint(32, longest),
        )
        for n in range(count)
    ]  # fmt: skip


def resumed_at(request: Any, ids: list[int], at: int) -> Any:
    params = request.params
    return placement(
        request.request_id, request.prompt_ids, attempt=2, seed=params.seed, temperature=params.temperature,
        max_tokens=params.max_tokens, top_p=params.top_p, resumed=[(0, ids[:at])],
    )  # fmt: skip


def compare(engine: Any, placements: list, elsewhere: dict[str, list[int]]) -> dict[str, Any]:
    """Return how each way diverges from alone; ``engine(**bounds)`` gives a fresh run over the same loaded ranks.

    ``elsewhere``: the tokens of the same requests alone at another tp; empty if they didn't run there.
    """
    alone = {one.request_id: engine(**MIX).finish([one])[one.request_id, 0].ids for one in placements}
    mixed, wide = engine(**MIX).finish(placements), engine(**WIDE).finish(placements)
    tight = engine(**TIGHT)
    squeezed = tight.finish(placements)
    middle = engine(**MIX).finish(
        [resumed_at(one, alone[one.request_id], len(alone[one.request_id]) // 2) for one in placements]
    )
    diverged: dict[str, list[tuple[str, int, float]]] = {"here": [], "tp": []}
    for request in placements:
        name, ids = request.request_id, alone[request.request_id]
        for where, other in (
            ("here", mixed[name, 0].ids),
            ("here", wide[name, 0].ids),
            ("here", squeezed[name, 0].ids),
            ("here", ids[: len(ids) // 2] + middle[name, 0].ids),
            ("tp", elsewhere.get(name, ids)),
        ):
            if other != ids:
                at = next(i for i, (a, b) in enumerate(itertools.zip_longest(ids, other)) if a != b)
                diverged[where].append((name, at, margin(engine, request, (ids, other), at)))
    return {"requests": 4 * len(placements), "diverged": diverged, "preempted": tight.preempted, "alone": alone}


def margin(engine: Any, request: Any, answers: tuple[list[int], list[int]], at: int) -> float:
    """Return how far the scores of the two tokens lie apart where two answers part, at index ``at``."""
    ids, other = answers
    again = resumed_at(request, ids, at) if at else request
    again = msgspec.structs.replace(
        again, params=msgspec.structs.replace(again.params, logprobs=100_000, max_tokens=at + 1)
    )
    answer = engine(**MIX).finish([again])[request.request_id, 0]
    top = {token: logprob for token, logprob, _ in answer.logprobs[0].top}
    temperature = request.params.temperature
    noise = gumbel([(request.params.seed, 0, at)], max(top) + 1)[0]
    a, b = (
        top[token] / temperature + float(noise[token]) if temperature else top[token] for token in (ids[at], other[at])
    )
    return abs(a - b)


def cells(
    rank: int, tp: int, how: dict[str, Any], amount: tuple[int, int, dict[float, dict[str, list[int]]]]
) -> dict[float, Any] | None:
    """Run greedy and sampled on one rank: rank 0 compares, the others follow its plans, which come by broadcast.

    ``how``: the engine's dtype, exact and backend. ``amount``: how many requests, how long at most, and, for each
    temperature, the tokens at another tp.
    """
    from calmops.engine.engine import Follower

    shape: dict[str, Any] = {"folder": MODEL, "tp": tp, **how}
    if rank != 0:
        follower = Follower.load(engine_settings(**shape, **LOADED), rank)
        while follower.follow(broadcast(None)):
            pass
        return None

    def send(plan: StepPlan) -> None:
        if tp > 1:
            broadcast(msgspec.msgpack.encode(plan))

    loaded = Run(MODEL, send_plan=send, tp=tp, **how, **LOADED)
    count, longest, elsewhere = amount
    results = {
        temperature: compare(loaded.with_bounds, requests(count, longest, temperature, seed=2), tokens)
        for temperature, tokens in elsewhere.items()
    }
    if tp > 1:
        broadcast(msgspec.msgpack.encode(Stop(reason="done")))
    return results


def broadcast(body: bytes | None) -> bytes:
    import torch.distributed as dist

    box = [body]
    dist.broadcast_object_list(box, 0)
    assert box[0] is not None
    return box[0]


def cost_of_exact(dtype: Dtype, pairs: int) -> list[float]:
    """Return ratios of exact time to fast time for the same requests, in turns (ABBA)."""
    runs = {exact: Run(MODEL, dtype=dtype, exact=exact, backend="transformers", **MIX) for exact in (False, True)}
    wanted = requests(8, 48, 0.0, 3)

    def seconds(exact: bool) -> float:
        run = runs[exact].with_bounds(**MIX)
        started_s = time.perf_counter()
        run.finish(wanted)
        return time.perf_counter() - started_s

    for exact in (False, True):
        seconds(exact)
    took_s: dict[bool, list[float]] = {True: [], False: []}
    for _, exact in kit.in_turns((False, True), pairs):
        took_s[exact].append(seconds(exact))
    return kit.pair_ratios(took_s[True], took_s[False])


def families(dtype: Dtype) -> int:
    """Count the rows of tiny models' logits that differ in a bit between a sequence alone and in ragged steps."""
    import tempfile

    from calmops.engine.backends.transformers import TransformersBackend
    from tests.support.engine.ragged_steps import ragged_logits, random_sequences

    differing = 0
    for family in DENSE_FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(Path(folder), family)
            backend = TransformersBackend(engine_settings(folder=Path(folder), kv_blocks=400, exact=True, dtype=dtype))
            sequences = random_sequences(5, (9, 40, 70, 1, 130, 300), 320)
            alone = {}
            for number, ids in enumerate(sequences):
                rows = range(len(ids))
                plan = StepPlan(
                    step=1, tokens=tuple(ids), positions=tuple(rows), rows_to_sequence=(0,) * len(ids),
                    block_tables=(tuple(range(40)),), wanted_rows=tuple(rows),
                )  # fmt: skip
                logits = backend.step(plan)
                assert logits is not None
                alone.update({(number, row): logits[row] for row in rows})
            mixed = ragged_logits(backend, sequences, 400, 1)
            differing += sum(not torch.equal(row, alone[key]) for key, row in mixed.items())
    return differing


def prove(dtype: Dtype, long: bool) -> None:
    """Prove it in one dtype, through transformers' modules; end the process with the verdict."""
    longest = 256 if long else 48
    counts = {True: 32 if long else 4, False: 8 if long else 4}  # requests per cell, exact or not
    tallies = {way: Tally(way, NEAR_TIE[dtype]) for way in ("exact", "not exact", "exact, tp 1 against 2")}
    preempted = 0
    for exact in (True, False) if long else (True,):
        elsewhere: dict[float, dict[str, list[int]]] = {0.0: {}, 1.0: {}}
        for tp in (1, 2):
            how = {"dtype": dtype, "exact": exact, "backend": "transformers"}
            results = run_gang(cells, tp, how, (counts[exact], longest, elsewhere), timeout_s=1500)
            for temperature, result in results.items():
                tallies["exact" if exact else "not exact"].add(result["requests"], result["diverged"]["here"])
                preempted += result["preempted"]
                if exact and tp == 2:
                    tallies["exact, tp 1 against 2"].add(len(elsewhere[temperature]), result["diverged"]["tp"])
                elsewhere[temperature] = result["alone"]
                recipe = f"{'exact' if exact else 'fast'} {dtype} tp {tp} temperature {temperature}"
                diverged = f"diverged (request, index, margin): {result['diverged']}"
                print(f"{recipe}: {result['requests']} runs, {diverged}", flush=True)
    rows = families(dtype)
    cost = "; the fast recipe and the cost are the long form's"
    if long:
        cost = f"; cost of exact x{kit.spread(cost_of_exact(dtype, 20)):.2f}"
    exact_one = tallies["exact"]
    kit.verdict(
        not exact_one.margins
        and rows == 0
        and preempted > 0
        and exact_one.runs >= (512 if long else 60)
        and all(tally.near_ties for tally in tallies.values()),
        f"{4 * counts[True]} requests in {dtype}, each in 4 ways; "
        f"{'; '.join(str(tally) for tally in tallies.values() if tally.runs)}; {preempted} preemptions; "
        f"{rows} differing rows of logits of {len(DENSE_FAMILIES)} tiny families{cost}",
    )


def prove_kernel(long: bool) -> None:
    """Prove it on the CPU kernel, with 1,000 requests over eight cells in the long form; end with the verdict."""
    count, longest = (125, 256) if long else (6, 48)
    tally, preempted = Tally("exact", 0.0), 0
    nothing: dict[float, dict[str, list[int]]] = {0.0: {}, 1.0: {}}
    for dtype in ("float32", "bfloat16"):
        for tp in (1, 2):
            how = {"dtype": dtype, "backend": "kernel"}
            for temperature, result in run_gang(cells, tp, how, (count, longest, nothing), timeout_s=1500).items():
                runs, diverged = result["requests"], result["diverged"]["here"]
                tally.add(runs, diverged)
                preempted += result["preempted"]
                print(f"{dtype} tp {tp} temperature {temperature}: {runs} runs, {diverged}", flush=True)
    kit.verdict(
        not tally.margins and preempted > 0, f"{8 * count} requests, each in 4 ways; {tally}; {preempted} preemptions"
    )


class Tally:
    """Counts runs and divergences of one kind, with their margins."""

    def __init__(self, what: str, near_tie: float) -> None:
        self.what = what
        self.runs = 0
        self.margins: list[float] = []  # nats
        self._near_tie = near_tie

    def add(self, runs: int, diverged: list[tuple[str, int, float]]) -> None:
        self.runs += runs
        self.margins += [margin for *_, margin in diverged]

    @property
    def near_ties(self) -> bool:
        """Say whether every divergence parted tokens of almost equal scores."""
        return max(self.margins, default=0.0) <= self._near_tie

    def __str__(self) -> str:
        widest = f", widest margin {max(self.margins):.4f} nats" if self.margins else ""
        bound = upper_bound(len(self.margins), self.runs)
        return f"{self.what}: {len(self.margins)} of {self.runs} runs diverged (rate <= {bound:.4f}, 95 %{widest})"


def upper_bound(events: int, trials: int) -> float:
    """Return the one-sided 95 % Clopper-Pearson bound of a rate, by bisection on the binomial tail."""
    from math import comb

    low, high = 0.0, 1.0
    for _ in range(50):
        rate = (low + high) / 2
        tail = sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(events + 1))
        low, high = (rate, high) if tail > 0.05 else (low, rate)
    return high
