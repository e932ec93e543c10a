"""Times the kernel beside llama.cpp: the same bfloat16 weights, as many threads as cores, in turns in one run.

llama.cpp runs with flash attention on and off, with default and unified KV; the best of them at each size is the peer.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import torch

from tests.bench import cores
from tests.bench.contenders import Calmops, LlamaCpp, prompts
from tests.bench.mixed_load import CalmopsServer, LlamaCppServer, drive, jobs
from tests.bench.shape import VOCABULARY
from tests.support.proofs import kit

THREADS = len(cores.ALL)
VARIANTS = tuple(itertools.product((True, False), (None, True)))  # flash attention, unified KV
TOKENS, PROMPT = 64, 64
MIXED_JOBS = 32

Timed = Callable[[str], float]


class Board:
    """Collects figures and decides whether every aim is met: by the median of the pairs' ratios.

    With ``surely`` an aim is missed only if the median's whole interval is below it. The two waves of a pair run one
    after the other, because a machine's speed may change by a third with its neighbours, for both alike.
    """

    def __init__(self, rounds: int, *, surely: bool = False) -> None:
        self.rounds = rounds
        self._surely = surely
        self.lines: list[str] = []
        self.ratios: dict[str, float] = {}
        self.best: dict[str, float] = {}  # ours, tokens per second
        self.holds = True

    def beside(
        self, what: str, ours: Timed, peers: Mapping[str, Timed], aim: float, *, rounds: int = 0, tries: int = 2
    ) -> None:
        """Compare tokens per second of ours and of the best peer, in ABBA order, by medians over the rounds.

        The best peer is the one with the fastest of ``tries`` waves before. ``rounds`` is the board's number if 0.
        """
        best_rates = {name: max(peer(f"try {name} {i}") for i in range(tries)) for name, peer in peers.items()}
        name = max(best_rates, key=lambda peer: best_rates[peer])
        our_rates: list[float] = []
        peer_rates: list[float] = []
        for pair, (rates, timed) in kit.in_turns([(our_rates, ours), (peer_rates, peers[name])], rounds or self.rounds):
            rates.append(timed(f"{what} {pair}"))
        our_rate, peer_rate = kit.quantile(our_rates, 0.5), kit.quantile(peer_rates, 0.5)
        ratio = kit.spread(kit.pair_ratios(our_rates, peer_rates))
        self.best[what], self.ratios[what] = our_rate, ratio.median
        self.holds &= (ratio.high if self._surely else ratio.median) >= aim
        missed = "" if ratio.median >= aim else ", MISSED"
        self.say(f"{what}: {ratio:.2f} ({our_rate:.0f} over {peer_rate:.0f} tok/s, {name}; aim {aim:.1f}{missed})")

    def say(self, line: str) -> None:
        """Keep a line, and print it."""
        self.lines.append(line)
        print(line, flush=True)


def decode(
    board: Board, release: Path, gguf: Path, aims: Mapping[int, float], vocabulary: int, name: str, rounds: int = 0
) -> None:
    """Compare waves of so many sequences: tokens per second from the moment every one had its first token."""
    ours = Calmops(release, threads=THREADS)
    theirs = {
        _variant_name(flash, unified): LlamaCpp(gguf, THREADS, flash=flash, unified=unified)
        for flash, unified in VARIANTS
    }
    for count, aim in aims.items():

        def timed(engine: Calmops | LlamaCpp, count: int = count) -> Timed:
            return lambda seed: engine.wave(prompts(seed, count, PROMPT, vocabulary), TOKENS).decode_tokens_per_s

        board.beside(
            f"{name} B={count}",
            timed(ours),
            {peer: timed(engine) for peer, engine in theirs.items()},
            aim,
            rounds=rounds,
        )


def prefill(board: Board, release: Path, gguf: Path, chunks: Iterable[int], aim: float) -> None:
    """Compare four prompts of one chunk each: prompt tokens per second until every first token."""
    theirs = {
        _variant_name(flash, unified): LlamaCpp(gguf, THREADS, flash=flash, unified=unified)
        for flash, unified in VARIANTS
    }
    for chunk in chunks:
        ours = Calmops(release, threads=THREADS, max_rows_per_step=chunk)

        def timed(engine: Calmops | LlamaCpp, chunk: int = chunk) -> Timed:
            return lambda seed: 4 * (chunk - 2) / engine.wave(prompts(seed, 4, chunk - 2, VOCABULARY), 2).first_s

        board.beside(
            f"prefill in chunks of {chunk}", timed(ours), {peer: timed(engine) for peer, engine in theirs.items()}, aim
        )


def mixed(board: Board, release: Path, gguf: Path, aim: float) -> None:
    """Compare prompts of 16 to 512 tokens and answers of 8 to 256: all at once, then at Poisson arrivals."""
    ours = CalmopsServer(release, THREADS)
    peers = {
        _variant_name(flash, unified): LlamaCppServer(gguf, THREADS, flash=flash, unified=unified)
        for flash, unified in VARIANTS
    }

    def timed(server: CalmopsServer | LlamaCppServer) -> Timed:
        return lambda seed: drive(server, jobs(seed, MIXED_JOBS, VOCABULARY)).tokens_per_s

    board.beside("mixed", timed(ours), {name: timed(peer) for name, peer in peers.items()}, aim, tries=1)
    sample = jobs("rate", MIXED_JOBS, VOCABULARY)
    rate = 0.7 * board.best["mixed"] / (sum(job.tokens for job in sample) / len(sample))
    latencies = []
    for name, server in (("calmops", ours), ("llama.cpp", peers[_variant_name(*VARIANTS[0])])):
        report = drive(server, jobs("poisson", MIXED_JOBS, VOCABULARY, rate))
        ttft_ms, itl_ms = (kit.quantile(values, 0.99) * 1e3 for values in (report.ttft_s, report.itl_s))
        latencies.append(f"{name} {ttft_ms:.0f} and {itl_ms:.0f} ms")
    board.say(f"Poisson, {rate:.2f}/s: p99 of first token and between tokens {', '.join(latencies)}")


def limits(board: Board) -> None:
    """Report bytes of weights per second at one sequence as a share of the memory's bandwidth.

    And the highest arithmetic rate as a share of torch's matmul in float32 and bfloat16.
    """
    weights = 12 * (768 * (768 + 512) + 768 * 768 + 3 * 768 * 2048) + 768 * VOCABULARY
    block = torch.ones(64 << 20, dtype=torch.float32)
    read = max(block.numel() * 4 / _seconds(lambda: float(block.sum())) for _ in range(5))
    shares = [f"at B=1 {2 * weights * board.best['88m B=1'] / read:.0%} of the {read / 1e9:.0f} GB/s that memory gives"]
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.ones((2048, 2048), dtype=dtype)
        peak = max(2 * 2048**3 / _seconds(partial(torch.matmul, square, square)) for _ in range(5))
        share = 2 * weights * max(board.best.values()) / peak
        shares.append(f"at most {share:.0%} of torch's {peak / 1e9:.0f} GFLOP/s in {str(dtype).removeprefix('torch.')}")
    board.say(", ".join(shares))


def _seconds(act: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    act()
    return time.perf_counter() - began_s


def _variant_name(flash: bool, unified: bool | None) -> str:
    return f"flash {'on' if flash else 'off'}, {'unified' if unified else 'default'} KV"
