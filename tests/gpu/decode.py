"""Decoding on a GPU: our engine beside transformers' continuous batching, vLLM where it is installed, and what is possible.

What is possible: static shapes and a CUDA graph (static.py), and the speed at which memory gives the weights.
``python -m tests.gpu.decode`` on a machine with a GPU; ``--small`` runs every line of it on a CPU, and measures nothing.
Llama shapes with random bfloat16 weights, tp 1, 64 tokens after prompts of 64, at 1, 8, 32 and 128 sequences, in turns
(ABBA) in one run. Appends a line for each number of sequences to tests/gpu/LOG.md, with date and device.
"""

import argparse
import datetime as dt
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

from calmops.foundation.errors import CalmopsError
from tests.bench.contenders import Calmops, Prompts, prompts
from tests.bench.shape import VOCABULARY, write_llama
from tests.gpu.static import StaticDecoding
from tests.proofs import kit

LOG = Path(__file__).with_name("LOG.md")
LENGTH = 64
SHAPES = {
    "tiny": {"hidden": 128, "ffn": 256, "layers": 2, "heads": 2, "kv_heads": 1},
    "1b": {"hidden": 2048, "ffn": 8192, "layers": 16, "heads": 32, "kv_heads": 8},
    "8b": {"hidden": 4096, "ffn": 14336, "layers": 32, "heads": 32, "kv_heads": 8},
}
PREDICTED = "calmops 0.5 of continuous batching and 0.3 of the CUDA graph at every size: neither graphs nor a static layout are in its step yet"

Timed = Callable[[Prompts], float]  # seconds for a wave


def main() -> int:
    """Run it all; 0 if it ran, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model on the CPU, nothing logged")
    parser.add_argument("--shapes", nargs="*", choices=sorted(SHAPES), default=["1b", "8b"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available():
        print("no GPU here: run this where torch.cuda.is_available(), or with --small", file=sys.stderr)
        return 2
    device, rounds = ("cpu", 1) if arguments.small else ("cuda", arguments.rounds)
    name = "CPU, small, no measurement" if arguments.small else torch.cuda.get_device_name()
    gigabytes_s = bandwidth(device) / 1e9
    print(f"{name}; memory copies {gigabytes_s:.0f} GB/s; predicted: {PREDICTED}", flush=True)
    for shape in ["tiny"] if arguments.small else arguments.shapes:
        with tempfile.TemporaryDirectory(prefix="calmops-gpu-") as workspace:
            release = write_llama(Path(workspace) / shape, f"llama-{shape}", **SHAPES[shape])
            size = sum(file.stat().st_size for file in release.glob("*.safetensors"))
            field = contenders(release, device)
            for count in (1, 4) if arguments.small else (1, 8, 32, 128):
                line = f"llama-{shape}, {count} sequences: {compared(field, count, rounds)}; reading the weights once a step allows {count * gigabytes_s * 1e9 / size:.0f} tok/s"
                print(line, flush=True)
                if not arguments.small:
                    log(name, line)
            print(f"llama-{shape}, exact: {exact(release, device)}", flush=True)
    return 0


def contenders(release: Path, device: str) -> dict[str, Timed]:
    """Who takes part, ours first."""
    field = {
        "calmops": ours(release, device),
        "transformers' continuous batching": continuous_batching(release, device),
        "a static cache and a CUDA graph": static_graph(release, device),
    }
    if device == "cuda" and importlib.util.find_spec("vllm") is not None:
        field["vLLM"] = vllm(release)
    return field


def ours(release: Path, device: str) -> Timed:
    engine = Calmops(release, backend="transformers", device=device, max_sequences=128, kv_blocks=128 * 2 * LENGTH // 16, max_rows_per_step=2048)
    return lambda given: engine.wave(given, LENGTH).end_s


def continuous_batching(release: Path, device: str) -> Timed:
    model = loaded(release, device)
    how = transformers.GenerationConfig(max_new_tokens=LENGTH, do_sample=False, eos_token_id=-1, pad_token_id=1)

    sized_for: list[int] = []

    def wave(given: Prompts) -> float:
        if sized_for != [len(given)]:  # it keeps its graphs from wave to wave, but is sized for its first
            model.destroy_cached_continuous_batching_manager()
            sized_for[:] = [len(given)]
        began_s = time.perf_counter()
        made = model.generate_batch(inputs=given, generation_config=how, persistent_manager=True)
        took_s = time.perf_counter() - began_s
        short = [len(one.generated_tokens) for one in made.values() if len(one.generated_tokens) != LENGTH]
        assert len(made) == len(given) and not short, f"{len(made)} of {len(given)} answers, of {short} tokens"
        return took_s

    return wave


def static_graph(release: Path, device: str) -> Timed:
    """On a CPU in float32, where its tokens must be those of ``generate``: in bfloat16 another mask may turn a near tie."""
    model = loaded(release, device, torch.float32 if device == "cpu" else torch.bfloat16)
    sized: dict[int, StaticDecoding] = {}

    def wave(given: Prompts) -> float:
        if len(given) not in sized:
            sized.clear()
            sized[len(given)] = StaticDecoding(model, len(given), 2 * LENGTH)
        _finish(device)
        began_s = time.perf_counter()
        decoding = sized[len(given)]
        made = [decoding.begin(torch.tensor(given, device=device)), *(decoding.step() for _ in range(LENGTH - 1))]
        told = torch.stack(made, dim=1).tolist()
        took_s = time.perf_counter() - began_s
        if device == "cpu":
            assert told == greedy(model, given), "a static cache changed the tokens"
        return took_s

    return wave


def greedy(model: Any, given: Prompts) -> list[list[int]]:
    """What ``generate`` answers."""
    made = model.generate(
        torch.tensor(given), attention_mask=torch.ones(len(given), len(given[0]), dtype=torch.long),
        max_new_tokens=LENGTH, do_sample=False, eos_token_id=None, pad_token_id=1,
    )  # fmt: skip
    answer: list[list[int]] = made[:, len(given[0]) :].tolist()
    return answer


def loaded(release: Path, device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The checkpoint as transformers' model."""
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


def compared(field: dict[str, Timed], count: int, rounds: int) -> str:
    """Median tokens per second of each, and ours over each other's with its bootstrap interval."""
    for timed in field.values():
        timed(prompts(f"warm-up {count}", count, LENGTH, VOCABULARY))
    rates: dict[str, list[float]] = {name: [] for name in field}
    for pair, name in kit.in_turns(list(field), 2 * rounds):
        rates[name].append(count * LENGTH / field[name](prompts(f"{count}/{pair}", count, LENGTH, VOCABULARY)))
    mine = rates["calmops"]
    said = [f"calmops {kit.quantile(mine, 0.5):.0f} tok/s"]
    for name, theirs in rates.items():
        if name != "calmops":
            said.append(f"{kit.spread(kit.pair_ratios(mine, theirs)):.2f} of {name} ({kit.quantile(theirs, 0.5):.0f})")
    return ", ".join(said)


def exact(release: Path, device: str) -> str:
    """Whether the exact recipe can be had on this device, and what a wave of 8 costs with it."""
    try:
        engine = Calmops(release, backend="transformers", device=device, exact=True)
    except CalmopsError as error:
        return f"refused ({error})"
    return f"{8 * LENGTH / engine.wave(prompts('exact', 8, LENGTH, VOCABULARY), LENGTH).end_s:.0f} tok/s at 8 sequences"


def bandwidth(device: str) -> float:
    """Bytes per second that a copy within the device's memory reads, best of 10."""
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


def log(device: str, line: str) -> None:
    """Append one result."""
    if not LOG.exists():
        LOG.write_text(f"# On a GPU\n\nAppended by `python -m tests.gpu.decode`. Predicted: {PREDICTED}.\n\n", encoding="utf-8")
    with LOG.open("a", encoding="utf-8") as file:
        file.write(f"- {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}, {device}, torch {torch.__version__}: {line}\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sys.exit(main())
