"""Runs a function on the ranks of a real gang: plain spawned processes, joined over a fresh port, within a timeout."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from calmops.foundation.ports import free_port


def run_gang(work: Callable[..., Any], tp: int, *args: Any, timeout_s: float = 100.0) -> Any:
    """Call ``work(rank, tp, *args)`` in tp joined processes; return what rank 0 returned.

    Raises RuntimeError with the text of the first error, TimeoutError after ``timeout_s``; leaves no process behind.
    """
    context = multiprocessing.get_context("spawn")
    port = free_port()
    receiver, sender = context.Pipe(duplex=False)
    ranks = [
        context.Process(target=_rank_main, args=(work, (rank, tp, port), args, sender), daemon=True)
        for rank in range(tp)
    ]
    deadline = time.monotonic() + timeout_s
    try:
        for rank in ranks:
            rank.start()
        sender.close()
        while time.monotonic() < deadline:
            if receiver.poll(0.2):
                failed, result = receiver.recv()
                if failed:
                    raise RuntimeError(result)
                return result
            if any(rank.exitcode not in (None, 0) for rank in ranks) and not receiver.poll(1.0):
                raise RuntimeError(f"a rank died: exit codes {[rank.exitcode for rank in ranks]}")
        raise TimeoutError(f"the gang gave no result within {timeout_s} s")
    finally:
        for rank in ranks:
            if rank.is_alive():
                rank.kill()
            rank.join(5)


def _rank_main(
    work: Callable[..., Any], place: tuple[int, int, int], args: tuple[Any, ...], sender: Connection
) -> None:
    from calmops.engine.tensor_parallel import join

    rank, tp, port = place
    try:
        join(rank, tp, port)
        result = work(rank, tp, *args)
    except BaseException as error:
        sender.send((True, f"rank {rank}: {type(error).__name__}: {error}"))
        raise
    if rank == 0:
        sender.send((False, result))
    time.sleep(0.5 if rank else 0)  # rank 0 owns the rendezvous: the others outlive its last collective
