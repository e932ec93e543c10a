"""Turns a body into a valid request: checks the model's and the server's limits, encodes the prompt, sets the seed.

Pure; a request is admitted and placed after it. Whatever a client sends, ``parse_completion`` and ``parse_chat``
raise nothing but InputError (400, 404).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

from calmops.foundation.errors import InputError, UnknownModel
from calmops.intake import unsupported
from calmops.intake.json_body import parse_body
from calmops.intake.limits import (
    MAX_BEAM_WIDTH,
    MAX_LOGIT_BIASES,
    MAX_LOGPROBS,
    MAX_MESSAGES,
    MAX_STOP_CHARS,
    MAX_STOPS,
    IntakeLimits,
)
from calmops.intake.prompts import Prompt, chat_prompt, completion_prompt, conversation_chars, fit, text_chars
from calmops.intake.schema import INT64_MAX, ChatBody, CommonBody, CompletionBody
from calmops.intake.served_model import ServedModel
from calmops.intake.tokenizing import text_only
from calmops.messages.request import GenerationRequest, SamplingParams

COMPLETION_MAX_TOKENS = 16  # OpenAI's default for /v1/completions


class Intake(Struct, frozen=True, kw_only=True):
    """Holds a valid request and what its answer must look like."""

    request: GenerationRequest
    kind: str  # "completion" or "chat"
    stream: bool
    include_usage: bool
    echo: bool
    prompt_text: str  # "" unless echo


class Context(Struct, frozen=True, kw_only=True):
    """Holds what parsing needs besides the body."""

    served: Mapping[str, ServedModel]
    limits: IntakeLimits
    draw_seed: Callable[[], int]  # 63 bits
    request_id: str
    traceparent: str | None = None  # the caller's, W3C trace context
    tracestate: str | None = None  # the caller's, W3C trace context
    baggage: dict[str, str] = {}  # the part of the caller's that is kept


class PromptText(NamedTuple):
    """Keeps what an answer and the telemetry need of the prompt's text."""

    echoed: str  # put before each answer
    chars: int  # its length; 0 where it came as ids


def parse_completion(raw: bytes, context: Context) -> Intake:
    """Parse the body of POST /v1/completions; raise InputError for one that can't be served."""
    body = parse_body(raw, context.limits.body_bytes, CompletionBody, unsupported.COMPLETION)
    model = _model(body, context)
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise InputError(
            f"'best_of' other than n isn't supported: best_of {body.best_of}, n {body.n or 1}",
            param="best_of",
            code="unsupported_parameter",
        )
    if body.echo and body.logprobs is not None:
        raise InputError(
            "'echo' with 'logprobs' isn't supported: prompt tokens have no log-probabilities", param="echo"
        )
    ids = completion_prompt(body, model)
    prompt = fit(ids, body.max_tokens or COMPLETION_MAX_TOKENS, model, body.sliding)
    params = _params(body, context, model, prompt.max_tokens, body.logprobs)
    text = model.tokenizer.decode(prompt.ids) if body.echo else ""
    return _intake(body, context, prompt, params, PromptText(text, text_chars(body)))


def parse_chat(raw: bytes, context: Context) -> Intake:
    """Parse the body of POST /v1/chat/completions; raise InputError for one that can't be served."""
    body = parse_body(raw, context.limits.body_bytes, ChatBody, unsupported.CHAT)
    for at, message in enumerate(body.messages):
        unsupported.refuse_others(message.others, unsupported.MESSAGE, f"messages[{at}].")
        for part_at, part in enumerate(message.content if isinstance(message.content, list) else ()):
            unsupported.refuse_others(part.others, unsupported.PART, f"messages[{at}].content[{part_at}].")
    model = _model(body, context)
    _within("messages", len(body.messages), MAX_MESSAGES)
    if body.top_logprobs is not None and not body.logprobs:
        raise InputError(f"'top_logprobs' is {body.top_logprobs} but 'logprobs' isn't true", param="top_logprobs")
    if None not in {body.max_tokens, body.max_completion_tokens} and body.max_tokens != body.max_completion_tokens:
        raise InputError(
            f"'max_tokens' is {body.max_tokens} but 'max_completion_tokens' is {body.max_completion_tokens}",
            param="max_completion_tokens",
        )
    ids = chat_prompt(body, model)
    prompt = fit(ids, body.max_completion_tokens or body.max_tokens, model, body.sliding)
    params = _params(body, context, model, prompt.max_tokens, (body.top_logprobs or 0) if body.logprobs else None)
    return _intake(body, context, prompt, params, PromptText("", conversation_chars(body)))


def _model(body: CommonBody, context: Context) -> ServedModel:
    if body.stream_options is not None:
        unsupported.refuse_others(body.stream_options.others, unsupported.STREAM_OPTIONS, "stream_options.")
        if not body.stream:
            raise InputError("'stream_options' is only for stream: true", param="stream_options")
    model = context.served.get(body.model)
    if model is None:
        names = ", ".join(sorted(context.served))
        raise UnknownModel(f"no model {body.model[:64]!r}; there are: {names}", param="model", code="model_not_found")
    return model


def _params(
    body: CommonBody, context: Context, model: ServedModel, max_tokens: int, logprobs: int | None
) -> SamplingParams:
    _within("n", body.n, context.limits.n)
    _within("logprobs" if isinstance(body, CompletionBody) else "top_logprobs", logprobs, MAX_LOGPROBS)
    top_k = body.top_k if body.top_k and body.top_k > 0 else 0
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=_or_default(body.temperature, 1.0),
        top_k=min(top_k, model.vocab_size),
        top_p=_or_default(body.top_p, 1.0),
        min_p=_or_default(body.min_p, 0.0),
        repetition_penalty=_or_default(body.repetition_penalty, 1.0),
        presence_penalty=_or_default(body.presence_penalty, 0.0),
        frequency_penalty=_or_default(body.frequency_penalty, 0.0),
        logit_bias=_logit_bias(body, model),
        seed=context.draw_seed() if body.seed is None else body.seed & INT64_MAX,
        n=body.n or 1,
        beam_width=_beam_width(body),
        stop=_stops(body),
        stop_ids=_stop_ids(body, model),
        logprobs=logprobs,
        loop_guard=body.loop_guard is not False,
    )


def _intake(body: CommonBody, context: Context, prompt: Prompt, params: SamplingParams, text: PromptText) -> Intake:
    limit_s = context.limits.timeout_s
    _within("timeout", body.timeout, limit_s)
    request = GenerationRequest(
        request_id=context.request_id,
        model=body.model,
        prompt_ids=prompt.ids,
        params=params,
        stream=bool(body.stream),
        timeout_s=_or_default(body.timeout, limit_s),
        cache_salt=body.cache_salt or "",
        prompt_chars=text.chars,
        traceparent=context.traceparent,
        tracestate=context.tracestate,
        baggage=context.baggage,
    )
    return Intake(
        request=request,
        kind="completion" if isinstance(body, CompletionBody) else "chat",
        stream=request.stream,
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        echo=isinstance(body, CompletionBody) and bool(body.echo),
        prompt_text=text.echoed,
    )


def _or_default(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _within(param: str, value: float | None, limit: float) -> None:
    if value is not None and value > limit:
        raise InputError(f"{param!r} is {value:g}; the limit here is {limit:g}", param=param, code="invalid_value")


def _beam_width(body: CommonBody) -> int:
    width = body.beam_width or 0
    _within("beam_width", width, MAX_BEAM_WIDTH)
    if width and body.stream:
        raise InputError(
            f"'beam_width' is {width} and 'stream' is true: a beam search doesn't stream", param="beam_width"
        )
    if width and (body.n or 1) > width:
        raise InputError(f"'n' is {body.n}; a beam search of width {width} has at most {width} answers", param="n")
    return width


def _logit_bias(body: CommonBody, model: ServedModel) -> dict[int, float]:
    biases = {int(key): float(value) for key, value in (body.logit_bias or {}).items()}
    _within("logit_bias", len(biases), MAX_LOGIT_BIASES)
    for token_id in biases:
        _known_id("logit_bias", token_id, model)
    return biases


def _stops(body: CommonBody) -> tuple[str, ...]:
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    _within("stop", len(stops), MAX_STOPS)
    for text in stops:
        if len(text) > MAX_STOP_CHARS:
            raise InputError(f"a 'stop' string has {len(text)} characters; the limit is {MAX_STOP_CHARS}", param="stop")
    return tuple(dict.fromkeys(map(text_only, stops)))


def _stop_ids(body: CommonBody, model: ServedModel) -> tuple[int, ...]:
    given = body.stop_token_ids or []
    _within("stop_token_ids", len(given), MAX_STOPS)
    for token_id in given:
        _known_id("stop_token_ids", token_id, model)
    ends = () if body.ignore_eos else model.end_ids
    return tuple(dict.fromkeys((*given, *ends)))


def _known_id(param: str, token_id: int, model: ServedModel) -> None:
    if token_id >= model.vocab_size:
        raise InputError(
            f"{param!r} has token id {token_id}; {model.name!r} has ids 0 to {model.vocab_size - 1}", param=param
        )
