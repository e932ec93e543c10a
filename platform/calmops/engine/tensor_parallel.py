"""Joins a gang's ranks and shards a model over them; the engine's one import of DeepSpeed.

A gang is one process world, made once and left by dying. On a CPU the all-reduce goes through DeepSpeed's
shared-memory op, whose files are unlinked as soon as every rank has mapped them, so nothing stays behind, even after
SIGKILL. Knows no cache and no step.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from calmops.foundation.errors import GangError, SetupError
from calmops.foundation.paths import SHARED_MEMORY, folder

JOIN_TIMEOUT_S = 120.0


def prebuild() -> None:
    """Compile DeepSpeed's shared-memory op ahead of time (about 45 s once, then cached), one process at a time.

    Raises SetupError if it can't be built here (it needs g++ and ninja).
    """
    with _build_lock():
        from deepspeed.accelerator import get_accelerator

        builder = get_accelerator().create_op_builder("ShareMemCommBuilder")
        if builder is None:  # on a GPU, NCCL does the all-reduce: there is nothing to build
            return
        try:
            builder.load()
        except (RuntimeError, OSError) as error:
            raise SetupError(f"DeepSpeed's shared-memory op can't be built; it needs g++ and ninja: {error}") from error


def join(rank: int, tp: int, port: int, device: str = "cpu") -> None:
    """Make this process ``rank`` of a world of ``tp`` on this machine, which meets on 127.0.0.1:``port``.

    Blocks until all have joined, at most JOIN_TIMEOUT_S; then raises GangError. For tp 1 there is no world.
    ``port`` must be fresh for each gang; ``device`` is "cpu" or "cuda".
    """
    if tp == 1:
        return
    assert 0 <= rank < tp, f"rank {rank} of {tp}"
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(tp),
        LOCAL_SIZE=str(tp),
        LOCAL_RANK=str(_local_rank(rank, device)),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        DS_ACCELERATOR=device,
    )
    if device == "cpu":
        prebuild()
        _own_file(rank, port).unlink(missing_ok=True)
    import deepspeed

    try:
        deepspeed.init_distributed(
            dist_backend="gloo" if device == "cpu" else "nccl",
            timeout=timedelta(seconds=JOIN_TIMEOUT_S),
            auto_mpi_discovery=False,
            verbose=False,
        )
        if device == "cpu":
            _leave_no_files(rank, tp, port)
    except (RuntimeError, dist.DistError) as error:
        raise GangError(f"rank {rank} of {tp} couldn't join its world on port {port}: {error}") from error


def shard(model: torch.nn.Module, tp: int, dtype: torch.dtype) -> torch.nn.Module:
    """Return this rank's share of ``model``, cut by AutoTP; the model itself for tp 1. Needs ``join`` first."""
    if tp == 1:
        return model
    import deepspeed

    engine: Any = deepspeed.init_inference(
        model, tensor_parallel={"tp_size": tp}, dtype=dtype, replace_with_kernel_inject=False
    )
    module: torch.nn.Module = engine.module
    return module


def all_reduce(tensor: torch.Tensor) -> None:
    """Sum a contiguous float32 tensor over the world's ranks, in place, through DeepSpeed's op."""
    import deepspeed.comm as ds

    ds.inference_all_reduce(tensor, op=ds.ReduceOp.SUM)


def text_of_rank_0(text: str) -> str:
    """Return rank 0's ``text`` on every rank; the others' own is ignored."""
    texts = [text]
    dist.broadcast_object_list(texts, 0)
    return texts[0]


def wait_for_every_rank() -> None:
    """Wait until every rank of the world has called this."""
    dist.barrier()


def _leave_no_files(rank: int, tp: int, port: int) -> None:
    """Try the all-reduce, wait until every rank has mapped the buffers, then unlink this rank's."""
    probe = torch.full((1, 1, 64), float(rank + 1))
    all_reduce(probe)
    expected = tp * (tp + 1) / 2
    if not bool((probe == expected).all()):
        raise GangError(f"the ranks' first sum is {float(probe[0, 0, 0])}, not {expected}: stale shared memory")
    dist.barrier()
    _own_file(rank, port).unlink(missing_ok=True)


def _own_file(rank: int, port: int) -> Path:
    """Return the file where the op maps this rank's buffer; its C++ source names it by user, address and port."""
    return SHARED_MEMORY / f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_{port}_{rank}"


def _local_rank(rank: int, device: str) -> int:
    """Return the device index that DeepSpeed will select: 0 where a rank sees one GPU of its own."""
    return rank if device == "cpu" or torch.cuda.device_count() > 1 else 0


@contextmanager
def _build_lock() -> Iterator[None]:
    with (folder("build") / "deepspeed.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
