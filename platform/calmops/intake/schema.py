"""Describes the bodies of /v1/completions and /v1/chat/completions: OpenAI's parameters and calmops' own.

The second step of parsing, after the JSON. Types are strict: a number in quotes is refused. Other parameters are
allowed here only so that ``unsupported.py`` can name them in its refusal. Limits that depend on the model or the
server are in ``validate.py``.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_TOKENS = 2**31 - 1

BiasKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
BiasValue = Annotated[float, Field(ge=-100, le=100)]
Biases = Annotated[
    dict[BiasKey, BiasValue],
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {"^[0-9]{1,9}$": {"type": "number", "minimum": -100, "maximum": 100}},
            "additionalProperties": False,
        }
    ),
]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
StopText = Annotated[str, Field(min_length=1)]


def _text_or_list(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else None


def _prompt_form(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str):
        return "texts"
    return "id_lists" if isinstance(value[0], list) else "ids"


def _closed(schema: dict[str, Any]) -> None:
    """Publish the schema without other parameters: parsing refuses each of them by name."""
    schema["additionalProperties"] = False


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(definitions[part["$ref"].rsplit("/", 1)[-1]], definitions)
    return {key: _inlined(value, definitions) for key, value in part.items()}


class Shape(BaseModel):
    """Sets how every object in a body is parsed."""

    model_config = ConfigDict(
        strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=(), json_schema_extra=_closed
    )

    @property
    def others(self) -> dict[str, Any]:
        """Return the parameters that the schema doesn't have, as given."""
        return self.model_extra or {}


class StreamOptions(Shape):
    """Sets how an answer is streamed."""

    include_usage: bool | None = Field(None, description="Send a last chunk with the request's token counts.")


class CommonBody(Shape):
    """Holds the parameters that both endpoints take."""

    model: str = Field(description="A name from /v1/models.")
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS, description="Most tokens of each answer.")
    temperature: float | None = Field(None, ge=0, le=2, description="0 takes the most probable token. Default 1.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus sampling. Default 1, off.")
    n: int | None = Field(None, ge=1, le=128, description="Answers to generate. Default 1.")
    stream: bool | None = Field(None, description="Send server-sent events as tokens come.")
    stream_options: StreamOptions | None = Field(None, description="Only with stream.")
    stop: (
        Annotated[
            Annotated[StopText, Tag("text")] | Annotated[list[StopText], Tag("list")], Discriminator(_text_or_list)
        ]
        | None
    ) = Field(None, description="Strings that end an answer; not part of it.")
    seed: int | None = Field(None, ge=INT64_MIN, le=INT64_MAX, description="Same seed, same answer. Drawn if left out.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Biases | None = Field(None, description="Token id to a value added to its logit.")
    user: str | None = Field(None, description="A label of the caller's; changes nothing.")
    top_k: int | None = Field(None, ge=-1, le=2**31 - 1, description="calmops: 0 or -1 is off.")
    min_p: float | None = Field(None, ge=0, le=1, description="calmops: least share of the best token's probability.")
    repetition_penalty: float | None = Field(None, gt=0, le=10, description="calmops: default 1, off.")
    beam_width: int | None = Field(None, ge=0, le=128, description="calmops: beam search; 0 is off. Doesn't stream.")
    stop_token_ids: list[TokenId] | None = Field(None, description="calmops: tokens that end an answer.")
    ignore_eos: bool | None = Field(None, description="calmops: go on past the model's end token.")
    truncate: Literal["sliding"] | None = Field(
        None, description="calmops: keep only the newest prompt tokens that fit the context."
    )
    timeout: float | None = Field(None, gt=0, le=86400, description="calmops: seconds until the request is given up.")
    cache_salt: str | None = Field(
        None, max_length=256, description="calmops: prompts are cached for requests of one salt only. Default none."
    )
    loop_guard: bool | None = Field(None, description="calmops: end a runaway repetition. Default true.")

    @property
    def sliding(self) -> bool:
        """Return whether a prompt that is too long loses its oldest tokens, instead of being refused."""
        return self.truncate is not None

    @classmethod
    def model_json_schema(cls, *args: Any, **settings: Any) -> dict[str, Any]:
        """Return the schema with every definition inlined, so that it can stand anywhere in an OpenAPI document."""
        schema = super().model_json_schema(*args, **settings)
        return _inlined(schema, schema.pop("$defs", {}))  # type: ignore[no-any-return]


class CompletionBody(CommonBody):
    """Holds the parameters of POST /v1/completions."""

    prompt: Annotated[
        Annotated[str, Tag("text")]
        | Annotated[Annotated[list[str], Field(min_length=1, max_length=1)], Tag("texts")]
        | Annotated[Annotated[list[TokenId], Field(min_length=1)], Tag("ids")]
        | Annotated[
            Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=1)],
            Tag("id_lists"),
        ],
        Discriminator(_prompt_form),
    ] = Field(description="One prompt: a string or a list of token ids, either of them in a list of one.")
    echo: bool | None = Field(None, description="Put the prompt before each answer.")
    logprobs: int | None = Field(None, ge=0, le=128, description="Log-probabilities of this many alternatives.")
    best_of: int | None = Field(None, ge=1, le=128, description="Only the value of n: one answer for each.")


class TextPart(Shape):
    """Holds one part of a message's content."""

    type: Literal["text"]
    text: str


class Message(Shape):
    """Holds one message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("text")] | Annotated[list[TextPart], Tag("list")], Discriminator(_text_or_list)
    ]


class ChatBody(CommonBody):
    """Holds the parameters of POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS, description="max_tokens by its newer name.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=128, description="Only with logprobs.")
