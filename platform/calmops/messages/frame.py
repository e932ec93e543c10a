"""Defines the frame, which carries what one step leaves behind for one gateway: replica to gateway, over ZeroMQ.

The same frame feeds the client's stream and the telemetry log; only its projection (``messages.record.FrameRecord``:
counts, times, positions, no text and no ids) is ever stored. The messages that gateways send back are here too.
"""

from msgspec import Struct

FINISH_REASONS = ("stop", "length", "loop_guard", "cancelled", "timeout", "gateway_slow", "failed")


class TokenLogprobs(Struct, frozen=True, array_like=True):
    """Holds the log-probabilities at one answer index: the chosen token's and those of the best alternatives."""

    token_id: int
    logprob: float
    token_bytes: bytes
    top: tuple[tuple[int, float, bytes], ...] = ()  # (id, logprob, bytes), best first


class Delta(Struct, frozen=True, array_like=True, kw_only=True):
    """Holds one sequence's share of a step."""

    request_id: str
    stream_token: int
    attempt: int
    choice: int
    index: int  # answer index of token_ids[0]
    token_ids: tuple[int, ...]
    text: str  # the text that this step releases; may be empty
    released: int  # tokens of the answer, from index 0, whose text has been released for good
    logprobs: tuple[TokenLogprobs, ...] | None = None
    finish_reason: str | None = None  # set on the choice's last delta
    stop_match: str | None = None  # the stop string that ended it, if one did
    prefilled: int = 0  # prompt tokens computed for this sequence in this step
    recomputed: int = 0  # how many of those had been computed before (preemption or migration)
    cached: int = 0  # prompt tokens that came from shared cache blocks


class StepFacts(Struct, frozen=True, array_like=True, kw_only=True):
    """Holds what is true of the whole step: the same in every gateway's frame, keyed (replica, step)."""

    started_ns: int  # when the step's plan was made, by the engine's wall clock
    duration_ns: int  # from the plan to the sampled tokens, monotonic
    rows: int  # tokens through the forward pass
    decode_rows: int
    prefill_rows: int
    running: int  # sequences holding cache blocks
    waiting: int  # sequences not yet scheduled
    kv_blocks_used: int
    kv_blocks_total: int
    preempted: int  # sequences preempted by this step's plan


class Frame(Struct, frozen=True, tag="frame", kw_only=True):
    """Carries one step to one gateway. ``facts`` is None and ``deltas`` is empty in an idle heartbeat."""

    replica_id: str
    gang_id: str  # one life of a gang; a restarted one has another id
    shard: int  # the replica's stable slot
    model: str
    fingerprint: str
    step: int  # the gang's forward passes so far
    link_seq: int  # gapless per (gang, gateway), heartbeats included, from 1
    engine_ns: int  # engine's wall clock when the frame was made
    tokens_in_flight: int = 0  # ``Placement.tokens`` of the gang's live attempts, of all gateways
    facts: StepFacts | None = None
    deltas: tuple[Delta, ...] = ()
    last: bool = False  # the gang is ending: migrate at once


class Hello(Struct, frozen=True, tag="hello", kw_only=True):
    """Opens a new link: a replica's first message to a gateway."""

    replica_id: str
    gang_id: str
    model: str


class Cancel(Struct, frozen=True, tag="cancel", kw_only=True):
    """Asks a replica to free this attempt's sequences by the next step, or to refuse the attempt if it comes later."""

    stream_token: int
    reason: str  # "client_cancelled", "timeout", "fenced", "admin"


class GatewayAlive(Struct, frozen=True, tag="alive", kw_only=True):
    """Shows a replica that the gateway is alive: sent every GATEWAY_ALIVE_S (foundation.liveness).

    A gateway that is silent for GATEWAY_SILENT_S loses its sequences.
    """

    gateway_id: str


FromReplica = Frame | Hello
FromGateway = Cancel | GatewayAlive
