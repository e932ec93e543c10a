"""The training loop runs DeepSpeed's engine with AdamW in one process, and resumes from checkpoints to the bit.

It is training's only file that imports deepspeed. It knows batches and a schedule as functions of the step, and nothing
of text, releases or pictures.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import deepspeed
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from transformers import LlamaForCausalLM

from calmops.foundation.errors import InputError
from calmops.training.data.batches import Batches
from calmops.training.loop import checkpoint
from calmops.training.training_options import TrainingOptions

LOSSES = "losses.csv"


class Progress(NamedTuple):
    """Reports one step: ``step`` counts from 1, ``loss`` is in nats per token."""

    step: int
    loss: float


def run_steps(
    model: LlamaForCausalLM, batches: Batches, options: TrainingOptions, report: Callable[[Progress], None]
) -> list[float]:
    """Train to ``options.steps``, from the newest checkpoint in ``options.work`` if there is one.

    Returns the loss (nats per token) of every step from the first on. ``model`` is left with the trained weights, in
    ``options.dtype``.
    """
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    with _single_process_world():
        engine = _engine(model, options)
        losses = _resume(engine, options)
        log = _open_log(options.work / LOSSES, losses)
        with log:
            for step in range(len(losses), options.steps):
                loss = _one_step(engine, batches, step, options)
                losses.append(loss)
                log.write(f"{step + 1},{loss!r}\n")
                log.flush()
                report(Progress(step + 1, loss))
                if (step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps:
                    _save(engine, losses, options)
        engine.destroy()
    return losses


@contextmanager
def _single_process_world() -> Iterator[None]:
    """Open a process group of one over gloo. Its store lives in this process, so it takes no port."""
    if dist.is_initialized():
        raise RuntimeError("this process already belongs to a process group; train in a process of its own")
    # DeepSpeed reads these; without LOCAL_SIZE its shared-memory op ends in a segmentation fault.
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_SIZE="1")
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _engine(model: LlamaForCausalLM, options: TrainingOptions) -> Any:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.rate(0), betas=(0.9, 0.95), eps=1e-8)
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": options.clip_norm,
        "bf16": {"enabled": options.dtype == "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings, dist_init_required=False)
    engine.train()
    return engine


def _one_step(engine: Any, batches: Batches, step: int, options: TrainingOptions) -> float:
    ids = torch.from_numpy(batches.batch(step)).to(engine.device)
    for group in engine.optimizer.param_groups:
        group["lr"] = options.rate(step)
    loss = engine(input_ids=ids, labels=ids).loss
    engine.backward(loss)
    engine.step()
    return float(loss.detach())


def _save(engine: Any, losses: list[float], options: TrainingOptions) -> None:
    """Write a checkpoint beside the older ones, then publish it: a run killed in between goes on from an older one."""
    tag = checkpoint.tag_of(len(losses))
    state = {
        "losses": losses,
        "steps": options.steps,
        "free_steps": options.free_steps(),
        "fingerprint": options.fingerprint(),
        "torch_rng": torch.get_rng_state(),
    }
    folder = checkpoint.checkpoints_of(options.work)
    engine.save_checkpoint(str(folder), tag=tag, client_state=state, save_latest=False)
    checkpoint.publish(options.work, tag)


def _resume(engine: Any, options: TrainingOptions) -> list[float]:
    """Load the newest whole checkpoint and return the losses up to it; an empty list if there is none."""
    tag = checkpoint.newest(options.work)
    if tag is None:
        return []
    folder = checkpoint.checkpoints_of(options.work)
    path, state = engine.load_checkpoint(str(folder), tag=tag)
    if path is None:
        raise InputError(f"{folder / tag} can't be read; remove {folder} to start from the first step")
    if state["fingerprint"] != options.fingerprint():
        raise InputError(f"{folder / tag} was made with other options; name another work folder")
    free = min(int(state["free_steps"]), options.free_steps())
    if state["steps"] != options.steps and len(state["losses"]) > free:
        raise InputError(
            f"{folder / tag} stands at step {len(state['losses'])} of {state['steps']}; with another length only "
            f"the first {free} steps are the same, so it can't go on to {options.steps}"
        )
    torch.set_rng_state(state["torch_rng"])
    return list(state["losses"])


def _open_log(path: Path, losses: list[float]) -> Any:
    """Cut the loss log back to what the checkpoint knows and open it for appending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{step},{loss!r}\n" for step, loss in enumerate(losses, start=1)))
    return path.open("a")
