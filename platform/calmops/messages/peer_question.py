"""What one gateway asks another, so that the operator API answers for all of them. Over the other's frame channel."""

from typing import Literal

from msgspec import Struct

Question = Literal["view", "requests", "cancel"]


class PeerQuestion(Struct, frozen=True, tag="ask", kw_only=True):
    """One question; the answer comes back on the same link as one JSON document."""

    question: Question
    argument: str = ""  # "cancel": the request id
