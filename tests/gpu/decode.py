"""Times decoding on a GPU: our engine beside transformers' continuous batching, vLLM, and what is possible.

What is possible: static shapes and a CUDA graph (static.py), and the speed at which memory gives the weights. vLLM
takes part if it is installed. ``python -m tests.gpu.decode`` on a machine with a GPU; ``--small`` runs every line of it
on a CPU, and measures nothing.
Llama shapes with random bfloat16 weights, tp 1, 64 tokens after prompts of 64, at 1, 8, 32 and 128 sequences, in turns
(ABBA) in one run. Our engine with ``exact`` takes part too; its ratio is what ``exact`` costs. Appends a line for each
number of sequences to tests/gpu/LOG.md, with date and device.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.generation.continuous_batching.utils import WorkloadHints

from calmops.engine.backends import choice
from tests.bench.contenders import Calmops, Prompts, prompts
from tests.bench.shape import VOCABULARY, write_llama
from tests.gpu.log import log
from tests.gpu.static import StaticDecoding
from tests.support.proofs import kit

LENGTH = 64
SLOW_S = 1.5  # a wave of one that takes longer takes part in one round only
SHAPES = {
    "tiny": {"hidden": 128, "ffn": 256, "layers": 2, "heads": 2, "kv_heads": 1},
    "1b": {"hidden": 2048, "ffn": 8192, "layers": 16, "heads": 32, "kv_heads": 8},
    "8b": {"hidden": 4096, "ffn": 14336, "layers": 32, "heads": 32, "kv_heads": 8},
}
PREDICTED = (
    "Written before the first run: "
    "1 B: calmops 2 times continuous batching at 1 sequence and 0.8 at 128, 1.2 of the bare CUDA graph at 1 and 0.6 at "
    "128, where our host works 1.4 ms per step; half of the memory's limit at 1. 8 B: nearer to each other, 0.9 of the "
    "bare graph at 128. exact costs 1.5 at 1 sequence, 1.2 at 128"
)

Timed = Callable[[Prompts], float]  # seconds for a wave


def main() -> int:
    """Run every comparison; return 0 if they ran, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model on the CPU, nothing logged")
    parser.add_argument("--shapes", nargs="*", choices=sorted(SHAPES), default=["1b", "8b"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available():
        print("no GPU here: run this where torch.cuda.is_available(), or with --small", file=sys.stderr)
        return 2
    choice.EXACT_DEVICES += ("cuda",)  # its cost is measured here; tests.gpu.check shows whether it holds
    device, rounds = ("cpu", 1) if arguments.small else ("cuda", arguments.rounds)
    name = "CPU, small, no measurement" if arguments.small else torch.cuda.get_device_name()
    gigabytes_s = bandwidth(device) / 1e9
    print(f"{name}; memory copies {gigabytes_s:.0f} GB/s; predicted: {PREDICTED}", flush=True)
    if not arguments.small:
        log(f"memory copies {gigabytes_s:.0f} GB/s; predicted: {PREDICTED}")
    for shape in ["tiny"] if arguments.small else arguments.shapes:
        with tempfile.TemporaryDirectory(prefix="calmops-gpu-") as workspace, contextlib.ExitStack() as closing:
            with torch.device(device):
                release = write_llama(Path(workspace) / shape, f"llama-{shape}", **SHAPES[shape])
            size = sum(file.stat().st_size for file in release.glob("*.safetensors"))
            field = contenders(release, device, closing)
            for count in (1, 4) if arguments.small else (1, 8, 32, 128):
                most = count * gigabytes_s * 1e9 / size
                line = (
                    f"llama-{shape}, {count} sequences: {compare(field, count, rounds)}; "
                    f"reading the weights once per step allows {most:.0f} tok/s"
                )
                print(line, flush=True)
                if not arguments.small:
                    log(line)
    return 0


def contenders(release: Path, device: str, closing: contextlib.ExitStack) -> dict[str, Timed]:
    """Load everything that takes part, ours first."""
    field = {
        "calmops": ours(release, device),
        "itself with exact": ours(release, device, exact=True, max_rows_per_step=256),
        "a static cache and a CUDA graph": static_graph(release, device),
        "transformers' continuous batching": continuous_batching(release, device, closing),
    }
    if device == "cuda" and importlib.util.find_spec("vllm") is not None:
        field["vLLM"] = vllm(release)
    return field


def ours(release: Path, device: str, **engine: Any) -> Timed:
    began_s = time.perf_counter()
    chosen: dict[str, Any] = {"max_rows_per_step": 2048, **engine}
    calmops = Calmops(
        release, backend="transformers", device=device, max_sequences=128, kv_blocks=128 * 2 * LENGTH // 16, **chosen
    )
    print(f"calmops {engine or ''} loaded in {time.perf_counter() - began_s:.1f} s", flush=True)
    return lambda given: calmops.wave(given, LENGTH).end_s


def continuous_batching(release: Path, device: str, closing: contextlib.ExitStack) -> Timed:
    """Serve as its users do: a manager that keeps running, sized for the requests; the faster of its ways, tried on 8.

    It runs without flash attention, which it prefers, if that isn't installed. ``closing`` ends its thread.
    """
    model = load(release, device)
    how = transformers.GenerationConfig(max_new_tokens=LENGTH, do_sample=False, eos_token_id=-1, pad_token_id=1)
    served: dict[int, Any] = {}

    def stop() -> None:
        while served:
            served.popitem()[1].stop(block=True)

    closing.callback(stop)

    def wave_with(graphs: bool | None) -> Timed:
        def wave(given: Prompts) -> float:
            if len(given) not in served:
                stop()
                # The others hold their memory too.
                memory = transformers.ContinuousBatchingConfig(max_memory_percent=0.5, use_cuda_graph=graphs)
                hints = WorkloadHints(max_prompt_length=LENGTH, max_generated_length=LENGTH, num_requests=len(given))
                served[len(given)] = model.init_continuous_batching(how, memory, hints)
                served[len(given)].warmup()
                served[len(given)].start()
            began_s = time.perf_counter()
            waiting = set(served[len(given)].add_requests(inputs=given, max_new_tokens=LENGTH))
            while waiting:
                result = served[len(given)].get_result(timeout=60)
                assert result is not None and result.error is None, f"continuous batching gave up: {result}"
                if result.is_finished():
                    assert len(result.generated_tokens) == LENGTH, "it stopped early"
                    waiting.remove(result.request_id)
            return time.perf_counter() - began_s

        return wave

    if device == "cpu":
        return wave_with(None)
    tried: dict[bool | None, float] = {}
    for graphs in (None, True):
        wave = wave_with(graphs)
        tried[graphs] = min(wave(prompts(f"try {turn}", 8, LENGTH, VOCABULARY)) for turn in range(2))
        stop()
    print(
        f"continuous batching of 8, as it chooses {tried[None]:.2f} s, with CUDA graphs {tried[True]:.2f} s", flush=True
    )
    return wave_with(min(tried, key=lambda graphs: tried[graphs]))


def static_graph(release: Path, device: str) -> Timed:
    """Decode with a static cache; on a CPU in float32, with the tokens of ``generate``.

    In bfloat16 another mask may change a near tie.
    """
    model = load(release, device, torch.float32 if device == "cpu" else torch.bfloat16)
    sized: dict[int, StaticDecoding] = {}

    def wave(given: Prompts) -> float:
        if len(given) not in sized:
            sized.clear()
            sized[len(given)] = StaticDecoding(model, len(given), 2 * LENGTH)
        _finish(device)
        began_s = time.perf_counter()
        decoding = sized[len(given)]
        steps = [decoding.begin(torch.tensor(given, device=device)), *(decoding.step() for _ in range(LENGTH - 1))]
        tokens = torch.stack(steps, dim=1).tolist()
        took_s = time.perf_counter() - began_s
        if device == "cpu":
            assert tokens == greedy(model, given), "a static cache changed the tokens"
        return took_s

    return wave


def greedy(model: Any, given: Prompts) -> list[list[int]]:
    """Return the tokens that ``generate`` answers."""
    generated = model.generate(
        torch.tensor(given), attention_mask=torch.ones(len(given), len(given[0]), dtype=torch.long),
        max_new_tokens=LENGTH, do_sample=False, eos_token_id=None, pad_token_id=1,
    )  # fmt: skip
    answer: list[list[int]] = generated[:, len(given[0]) :].tolist()
    return answer


def load(release: Path, device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """Load the checkpoint as transformers' model."""
    loader: Any = transformers.AutoModelForCausalLM
    model = loader.from_pretrained(release, dtype=dtype, local_files_only=True, attn_implementation="sdpa")
    return model.to(device).eval()


def vllm(release: Path) -> Timed:
    library: Any = importlib.import_module("vllm")
    model = library.LLM(str(release), dtype="bfloat16", skip_tokenizer_init=True)
    how = library.SamplingParams(temperature=0.0, max_tokens=LENGTH, ignore_eos=True, detokenize=False)

    def wave(given: Prompts) -> float:
        began_s = time.perf_counter()
        model.generate([{"prompt_token_ids": ids} for ids in given], how, use_tqdm=False)
        return time.perf_counter() - began_s

    return wave


def compare(field: dict[str, Timed], count: int, rounds: int) -> str:
    """Return our median tokens per second and its ratio to each other's, with intervals; slow ones take fewer turns."""
    mine: list[float] = []
    ratios = []
    ours = field["calmops"]
    ours(prompts(f"warm-up {count}", count, LENGTH, VOCABULARY))
    for name, theirs in field.items():
        if name != "calmops":
            slow = theirs(prompts(f"warm-up {count}", count, LENGTH, VOCABULARY)) > SLOW_S
            rates: dict[str, list[float]] = {"calmops": [], name: []}
            for pair, who in kit.in_turns(["calmops", name], 2 if slow else 2 * rounds):
                took_s = field[who](prompts(f"{name}/{count}/{pair}", count, LENGTH, VOCABULARY))
                rates[who].append(count * LENGTH / took_s)
            mine += rates["calmops"]
            ratio = kit.spread(kit.pair_ratios(rates["calmops"], rates[name]))
            ratios.append(f"{ratio:.2f} of {name} ({kit.quantile(rates[name], 0.5):.0f})")
    return f"calmops {kit.quantile(mine, 0.5):.0f} tok/s, {', '.join(ratios)}"


def bandwidth(device: str) -> float:
    """Measure the bytes per second that a copy within the device's memory reads and writes, best of 10."""
    source = torch.empty(2**28 if device == "cuda" else 2**24, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best_s = float("inf")
    for _ in range(10):
        _finish(device)
        began_s = time.perf_counter()
        target.copy_(source)
        _finish(device)
        best_s = min(best_s, time.perf_counter() - began_s)
    return 2 * source.numel() / best_s


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sys.exit(main())
