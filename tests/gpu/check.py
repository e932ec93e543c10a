"""Checks the engine on a GPU: right attention, right logits, the sampler's rules, and the same bits under ``exact``.

``python -m tests.gpu.check`` on a machine with a GPU takes a minute or two. ``--small`` runs everything except
``exact`` on a CPU, through Triton's interpreter, in float32. Prints a line for each part and appends them to
tests/gpu/LOG.md; exits 1 if any part is broken.
"""

import argparse
import itertools
import os
import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

if "--small" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import msgspec
import torch
import transformers

from calmops.engine.backends import choice
from calmops.engine.backends.cuda import CudaBackend
from calmops.engine.cuda.attention import AttentionOptions, RowSlots, attend, store
from calmops.engine.cuda.sampling import draw
from calmops.messages.placement import Placement
from tests.gpu.log import log
from tests.support.engine.engine_settings import engine_settings
from tests.support.engine.ragged_steps import ragged_logits, random_sequences
from tests.support.engine.sampler_cases import difference, random_rows
from tests.support.engine.tiny_checkpoints import DENSE_FAMILIES, VOCABULARY, make_checkpoint
from tests.support.engine.tiny_engine import Run
from tests.support.proofs import same_tokens

SHAPES = ((2, 4, 64, 0.0), (1, 1, 80, 30.0), (8, 4, 128, 0.0), (1, 8, 256, 50.0))  # KV heads, group, head, soft cap
BOUND = {torch.float32: 1e-4, torch.bfloat16: 2.0**-6}  # relative to the largest value; bfloat16 keeps 8 bits


Part = Callable[[], tuple[bool, str]]  # whether it holds, and its figure


def main() -> int:
    """Check every part; return 0 if everything holds, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="on the CPU, with small shapes, nothing logged")
    small = parser.parse_args().small
    if not small and not torch.cuda.is_available():
        print("no GPU here: run this where torch.cuda.is_available(), or with --small", file=sys.stderr)
        return 2
    device = torch.device("cpu" if small else "cuda")
    choice.EXACT_DEVICES += ("cuda",)  # what this file is to show
    parts: list[Part] = [] if small else [partial(exact, "float32", 16), partial(exact, "bfloat16", 32)]
    parts += [
        partial(attention, device),
        *(partial(logits, family, dtype, device) for dtype, family in cases(small)),
        partial(drawing, device),
    ]
    broken = 0
    for part in parts:
        holds, figure = part()
        broken += not holds
        line = f"{'held' if holds else 'BROKEN'}: {figure}"
        print(line, flush=True)
        if not small:
            log(line)
    return 1 if broken else 0


def cases(small: bool) -> list[tuple[str, str]]:
    """Return (dtype, family) of the models whose logits are checked."""
    return (
        [("float32", "llama"), ("float32", "mistral")]
        if small
        else list(itertools.product(("float32", "bfloat16"), DENSE_FAMILIES))
    )


def attention(device: torch.device) -> tuple[bool, str]:
    """Compare our kernel with a plain float64 one: grouped heads, odd sizes, windows, caps, splits, any blocks."""
    rng = random.Random(0)
    worst: dict[torch.dtype, float] = {}
    for dtype in (torch.float32,) if device.type == "cpu" else (torch.float32, torch.bfloat16):
        for case, (kv_heads, group, size, softcap) in enumerate(SHAPES[:2] if device.type == "cpu" else SHAPES):
            torch.manual_seed(case)
            for length in (5, 150) if device.type == "cpu" else (5, 150, 1111, 5000):
                window, splits = rng.choice((0, 24, 1000)), rng.choice((1, 2, 8, 32))
                options = AttentionOptions(size**-0.5, softcap, window, splits)
                error = _attention_error((kv_heads, group, size, length), options, dtype, device)
                worst[dtype] = max(worst.get(dtype, 0.0), error)
    holds = all(error <= BOUND[dtype] for dtype, error in worst.items())
    return holds, f"attention, largest error: {', '.join(f'{str(k)[6:]} {v:.1e}' for k, v in worst.items())}"


def _attention_error(
    shape: tuple[int, int, int, int], options: AttentionOptions, dtype: torch.dtype, device: torch.device
) -> float:
    kv_heads, group, size, length = shape
    per_sequence = -(-length // 16)
    blocks = torch.randperm(3 * per_sequence, device=device).to(torch.int32)
    positions = torch.tensor([0, length // 2, length - 1, length - 1], device=device)
    offsets = torch.tensor([0, per_sequence, per_sequence, 2 * per_sequence], device=device)
    keys = torch.randn((48 * per_sequence, kv_heads, size), device=device).to(dtype)
    values = torch.randn_like(keys)
    k, v = torch.randn((2, 4, kv_heads, size), device=device).to(dtype)
    q = torch.randn((kv_heads * group, 4, size), device=device).to(dtype).transpose(0, 1)
    row_slots = RowSlots(positions, offsets, blocks)
    store((k, v), (keys, values), row_slots)
    ours = attend(q, (keys, values), row_slots, options).double()
    theirs = torch.empty_like(ours)
    for row, (position, offset) in enumerate(zip(positions.tolist(), offsets.tolist(), strict=True)):
        mine = blocks[offset : offset + per_sequence].long()
        slots = (mine[:, None] * 16 + torch.arange(16, device=device)).flatten()[: position + 1]
        slots = slots[-options.window :] if options.window else slots
        assert torch.equal(keys[slots[-1]], k[row]), "a row's keys aren't where its sequence ends"
        for head in range(kv_heads * group):
            scores = keys[slots, head // group].double() @ q[row, head].double() * options.scaling
            scores = torch.tanh(scores / options.softcap) * options.softcap if options.softcap else scores
            theirs[row, head] = torch.softmax(scores, 0) @ values[slots, head // group].double()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def logits(family: str, dtype: str, device: torch.device) -> tuple[bool, str]:
    """Run a family through ragged steps beside transformers in float32; bfloat16 must be no worse than theirs."""
    lengths = (9, 20, 1) if device.type == "cpu" else (9, 40, 70, 1, 33, 200)
    sequences = random_sequences(3, lengths, VOCABULARY)
    with tempfile.TemporaryDirectory() as folder:
        release = make_checkpoint(Path(folder) / family, family)
        settings = engine_settings(
            folder=release, device=cast("Any", device.type), dtype=cast("Any", dtype), kv_blocks=64, max_sequences=64
        )
        backend = CudaBackend(settings)
        ours = {
            at: row.clone() for at, row in ragged_logits(cast("Any", _CopiedLogits(backend)), sequences, 64, 3).items()
        }
        exact = _reference(release, sequences, torch.float32, device)
        rounded = _reference(release, sequences, torch.bfloat16, device)
    worst = max(float((exact[s][at] - row).abs().max()) for (s, at), row in ours.items())
    theirs = max(float((exact[s][at] - rounded[s][at]).abs().max()) for s, at in ours)
    same = sum(int(exact[s][at].argmax() == row.argmax()) for (s, at), row in ours.items()) / len(ours)
    bound = 1e-4 if dtype == "float32" else 1.5 * theirs
    figure = (
        f"{family} {dtype}: largest error of a logit {worst:.1e}, bound {bound:.1e}; argmax agrees in {same:.3f}; "
        f"{backend.fused_norms} norms fused, rotary {'fused' if backend.fused_rotary.agrees else 'theirs'}; "
        f"captured at {', '.join(map(str, backend.captured_rows)) or 'no size'}"
    )
    return worst <= bound and (device.type == "cpu" or bool(backend.captured_rows)), figure


class _CopiedLogits:
    """Steps a backend and copies its logits, so that they outlive the next step."""

    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend

    def step(self, plan: Any) -> Any:
        logits = self._backend.step(plan)
        return None if logits is None else logits.clone()


def _reference(
    release: Path, sequences: list[list[int]], dtype: torch.dtype, device: torch.device
) -> list[torch.Tensor]:
    loader: Any = transformers.AutoModelForCausalLM
    model = loader.from_pretrained(release, dtype=dtype, attn_implementation="eager").eval().to(device)
    with torch.inference_mode():
        return [model(torch.tensor([ids], device=device)).logits[0].float() for ids in sequences]


def drawing(device: torch.device) -> tuple[bool, str]:
    """Draw rows with every parameter together on the device, beside the specification: rules, not roundings."""
    batches = [random_rows(seed) for seed in range(6 if device.type == "cpu" else 28)]
    draws = [one for batch in batches for one in batch.draws]
    specified = [one for batch in batches for one in batch.specified]
    drawn = draw(torch.cat([batch.logits for batch in batches]).to(device), draws)
    pairs = [(ours, theirs) for ours, theirs in zip(drawn, specified, strict=True) if ours.token_id == theirs.token_id]
    other_tokens = len(draws) - len(pairs)
    wrong = [text for ours, theirs in pairs if (text := difference(ours, theirs)) is not None]
    figure = (
        f"{len(draws)} rows drawn as specified except {other_tokens}; log-probabilities wrong: {wrong[:3] or 'none'}"
    )
    return other_tokens <= len(draws) // 500 and not wrong, figure


def nucleus(request: Placement) -> Placement:
    """Return the same request, drawn from the likeliest tokens only."""
    return msgspec.structs.replace(request, params=msgspec.structs.replace(request.params, top_p=0.9))


def exact(dtype: same_tokens.Dtype, count: int) -> tuple[bool, str]:
    """Run the shipped model with ``exact``: a request alone, mixed, wide, preempted or resumed gets the same tokens."""
    loaded = Run(same_tokens.MODEL, dtype=dtype, device="cuda", exact=True, **same_tokens.LOADED)
    runs, diverged, preempted = 0, [], 0
    for temperature in (0.0, 1.0):
        requests = [
            nucleus(request) if number % 3 == 1 else request
            for number, request in enumerate(same_tokens.requests(count, 128, temperature, seed=2))
        ]
        result = same_tokens.compare(loaded.with_bounds, requests, {})
        runs, preempted = runs + result["requests"], preempted + result["preempted"]
        diverged += result["diverged"]["here"]
    figure = (
        f"exact {dtype}: {len(diverged)} of {runs} runs gave other tokens than alone ({preempted} preemptions) "
        f"{diverged[:3] or ''}"
    )
    return not diverged and preempted > 0, figure


if __name__ == "__main__":
    sys.exit(main())
