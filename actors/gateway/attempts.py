"""Carries a request from acceptance to its end: place it, wait, and place it again when its replica is lost."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ray
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from actors.gateway.frame_exchange import FrameExchange
from actors.gateway.live_request import LiveRequest
from actors.gateway.routing_book import RoutingBook
from calmops.foundation.config_sections import FailoverConfig
from calmops.foundation.errors import CalmopsError, DeadlineError, InputError, LoadError, UnavailableError
from calmops.foundation.liveness import FRAMES_LAG_S, ROUTE_LIMIT_S
from calmops.messages.placement import Placement, Summary
from calmops.streams.attempt_budget import AttemptBudget, Verdict

_log = logging.getLogger("ray.serve")


class Failure(NamedTuple):
    """Says why an attempt failed, and what that means for its replica."""

    why: str
    shunned: bool = True  # the request must not meet it again
    died: bool = False  # its process is gone


class AttemptDriver:
    """Drives the live requests of one gateway."""

    def __init__(
        self,
        exchange: FrameExchange,
        book: RoutingBook,
        handle_of: Callable[[str], DeploymentHandle],
        avoid: Callable[[], tuple[str, ...]],
        limits: FailoverConfig,
    ) -> None:
        """``handle_of`` returns a model's replicas; ``avoid`` the replicas, beside lost ones, that take nothing new."""
        self._exchange = exchange
        self._book = book
        self._handle_of = handle_of
        self._avoid = avoid
        self._max_attempts = limits.max_attempts
        self._no_replica_s = limits.no_replica_s
        self.migrations = 0

    def begin(self, live: LiveRequest) -> None:
        """Receive the request's frames from now on, and drive it on a task of its own."""
        self._exchange.add(live)
        live.drive_task = asyncio.create_task(self.drive(live, self._handle_of(live.intake.request.model)))

    def end(self, live: LiveRequest) -> None:
        """Fence off the request's frames and stop driving it."""
        self._exchange.remove(live)
        if live.drive_task is not None and not live.drive_task.done():
            live.drive_task.cancel()

    def is_live(self, request_id: str) -> bool:
        """Return whether a request of that id is live here."""
        return self._exchange.find(request_id) is not None

    async def drive(self, live: LiveRequest, handle: DeploymentHandle) -> None:
        """Drive a request until it has ended, whatever happens. Raises nothing except for cancellation."""
        deadline_ns = live.journal.accepted_ns + int(live.intake.request.timeout_s * 1e9)
        budget = AttemptBudget(max_attempts=self._max_attempts)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + _left_s(deadline_ns)):
                await self._attempts(live, handle, budget, deadline_ns)
        except TimeoutError:
            live.end(
                DeadlineError(
                    f"the request's deadline of {live.intake.request.timeout_s:g} s passed after "
                    f"{live.journal.journaled} tokens; raise `timeout`, or ask for fewer tokens"
                )
            )
        except CalmopsError as error:
            live.end(error)
        finally:
            if not live.journal.finished:
                self._exchange.cancel(live, "cancelled")
            self._book.end(live.journal.stream_token)

    async def _attempts(
        self, live: LiveRequest, handle: DeploymentHandle, budget: AttemptBudget, deadline_ns: int
    ) -> None:
        while not live.journal.finished:
            live.lost.clear()
            lost = tuple(sorted({*budget.lost, *self._exchange.liveness.lost_replicas(), *self._avoid()}))
            placement = live.journal.place(secrets.randbits(63), _wall(deadline_ns), lost)
            failure = await self._attempt(live, handle, placement)
            if failure is None:
                break
            replica_id = self._book.replica_of(placement.stream_token)
            self._exchange.cancel(live, "fenced")
            self._book.end(placement.stream_token)
            if failure.died and replica_id is not None:
                self._exchange.replica_died(replica_id, failure.why)
            verdict = budget.fail(replica_id if failure.shunned else None)
            if verdict is Verdict.GIVE_UP:
                raise UnavailableError(
                    f"gave the request up after {placement.attempt} attempts (limit {self._max_attempts}); "
                    f"last: {failure.why}"
                )
            live.journal.leave(replica_id, time.time_ns())
            self.migrations += 1
            _log.info(
                "request %s leaves replica %s after %d tokens, attempt %d of %d: %s",
                live.request_id, replica_id, live.journal.journaled, placement.attempt, self._max_attempts, failure.why,
            )  # fmt: skip
        live.end()

    async def _attempt(self, live: LiveRequest, handle: DeploymentHandle, placement: Placement) -> Failure | None:
        """Carry out one placement; return None when every choice has ended, else why the attempt failed.

        The last attempt isn't taken from a replica that is only silent: that would be giving the request up.
        """
        expected = self._book.expect(placement.stream_token)
        response = handle.generate.remote(placement)
        call = asyncio.ensure_future(_result(response, fresh=live.journal.journaled == 0))
        lost = asyncio.ensure_future(live.lost.wait())
        routed = asyncio.ensure_future(self._routed(placement, expected))
        try:
            waiting = {call, lost, routed}
            while True:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if lost in done:
                    if not live.perhaps_lost or placement.attempt < self._max_attempts:
                        return Failure(live.why_lost, shunned=not live.perhaps_lost)
                    live.lost.clear()
                    lost = asyncio.ensure_future(live.lost.wait())
                    waiting.add(lost)
                if call in done:
                    return await self._after_call(live, call.result())
                if routed in done and not routed.result():
                    raise UnavailableError(
                        f"no healthy replica of {placement.model!r} took the request within {self._no_replica_s:g} s"
                    )
        finally:
            for task in (call, lost, routed):
                task.cancel()
            if not call.done() or call.cancelled():
                response.cancel()

    async def _after_call(self, live: LiveRequest, result: Summary | Failure) -> Failure | None:
        """Wait for the last frames of a call that is over; return why the attempt failed, None if it didn't."""
        if isinstance(result, Failure):
            return result
        waited_s = 0.0
        while not live.journal.finished:
            if live.lost.is_set() or waited_s > FRAMES_LAG_S:
                return Failure(
                    result.error or live.why_lost or f"frames are missing {waited_s:g} s after the call's end"
                )
            if result.error is not None:
                return Failure(result.error)
            await asyncio.sleep(0.01)
            waited_s += 0.01
        return None

    async def _routed(self, placement: Placement, expected: "asyncio.Future[None]") -> bool:
        """Return True as soon as a replica has the attempt.

        Return False once no replica that could take it has been heard for no_replica_s. Under load Serve's routing may
        take longer than that although replicas are there: then this waits for it.
        """
        now_s = time.monotonic()
        until_s, last_s = now_s + self._no_replica_s, now_s + ROUTE_LIMIT_S
        while now_s < until_s:
            done, _ = await asyncio.wait((expected,), timeout=self._no_replica_s / 4)
            if done:
                return True
            now_s = time.monotonic()
            if now_s < last_s and self._exchange.liveness.serves(placement.model, placement.lost):
                until_s = now_s + self._no_replica_s
        return False


async def _result(response: Any, *, fresh: bool) -> Summary | Failure:
    """Return the call's summary, or why there is none. Serve's errors become a reason to migrate.

    A replica in which too much waits refuses a ``fresh`` request, one without a token yet, for good (LoadError): it was
    the least loaded one.
    """
    try:
        return await response
    except InputError:
        raise
    except LoadError as error:
        if fresh:
            raise
        return Failure(f"the replica is full: {error}")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Serve cancels the calls of an HTTP request whose client has left.
        return Failure("the call was cancelled by Serve")
    except (ray.exceptions.RayError, RayServeException, BackPressureError, CalmopsError) as error:
        why = f"the call failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        return Failure(why, died=isinstance(error, ray.exceptions.ActorDiedError))


def _left_s(deadline_ns: int) -> float:
    return (deadline_ns - time.monotonic_ns()) / 1e9


def _wall(deadline_ns: int) -> int:
    return time.time_ns() + deadline_ns - time.monotonic_ns()
