"""Defines a valid request: intake makes it from a client's body, and later hops know nothing else of the body."""

from msgspec import Struct


class SamplingParams(Struct, frozen=True, kw_only=True):
    """Says how tokens are chosen. Intake has validated it, so every field is in its range."""

    max_tokens: int
    temperature: float = 1.0  # 0 = greedy
    top_k: int = 0  # 0 = off
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int = 0  # always set: intake draws one (63 bits) if the client gave none
    n: int = 1
    beam_width: int = 0  # 0 = no beam search
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()  # includes the model's end tokens unless ignore_eos
    logprobs: int | None = None  # None = off; k = the chosen token and k alternatives
    loop_guard: bool = True  # end a runaway repetition with finish reason "loop_guard" (F7)


class GenerationRequest(Struct, frozen=True, kw_only=True):
    """Holds one admitted call."""

    request_id: str
    model: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    stream: bool
    timeout_s: float  # from acceptance, monotonic
    cache_salt: str = ""  # only requests of one salt share cached prompts
    prompt_chars: int = 0  # the characters of its text; 0 where the prompt came as ids
    probe: bool = False  # True for readiness probes, which SLIs and the ledger leave out
    traceparent: str | None = None  # the caller's W3C trace context
    tracestate: str | None = None  # the caller's, beside its traceparent
    baggage: dict[str, str] = {}  # the part of the caller's baggage that the configuration keeps
