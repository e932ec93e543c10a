"""Defines what one gateway asks another, so that the operator API answers for all gateways.

The question travels over the other gateway's frame channel.
"""

from typing import Literal

from msgspec import Struct

Question = Literal["view", "requests", "cancel"]


class PeerQuestion(Struct, frozen=True, tag="ask", kw_only=True):
    """Asks one question; the answer comes back on the same link as one JSON document."""

    question: Question
    argument: str = ""  # "cancel": the request id
