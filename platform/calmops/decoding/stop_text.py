"""Finds stop strings in text that comes token by token: between detokenizer and frame. Pure; knows no token ids.

It holds back only text that may still become a stop string. A matched stop string isn't released, nor is anything
after it. Where several could match, the one that is complete first matches, and of those that end together the
longest. So the outcome doesn't depend on how the text was cut into tokens.
"""

from collections import deque


class StopText:
    """Follows one choice's text and counts the tokens that were released for good."""

    __slots__ = ("_ends", "_fed_chars", "_held", "_released_chars", "_unfinished", "released_tokens", "stops")

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        assert all(stops), "an empty stop string would match everywhere"
        self.stops = stops
        self.released_tokens = 0  # tokens from the first on whose whole text was released
        self._held = ""
        self._fed_chars = 0
        self._released_chars = 0
        self._ends: deque[int] = deque()  # where the text of each token ends that isn't released yet
        self._unfinished = 0  # last fed tokens whose bytes don't make whole characters yet

    def feed(self, text: str, *, unfinished: bool = False) -> tuple[str, str | None]:
        """Take one token's text; return the text that it releases and the stop string that it completed, or None.

        ``unfinished``: the token's last bytes are still in the detokenizer (part of a character), so the token counts
        as released only together with the next finished one.
        """
        self._fed_chars += len(text)
        self._held += text
        self._unfinished += 1
        if not unfinished:
            self._close_tokens()
        if not self.stops:
            return self._release(len(self._held)), None
        match = self._match()
        if match is not None:
            at, stop = match
            text = self._release(at)
            self._held = ""
            return text, stop
        return self._release(len(self._held) - self._kept_chars()), None

    def finish(self, tail: str = "") -> tuple[str, str | None]:
        """End the text with ``tail``, what the detokenizer still had; return the text that was held back.

        The second value is the stop string that the tail completed, or None.
        """
        self._fed_chars += len(tail)
        self._held += tail
        self._close_tokens()
        match = self._match()
        text = self._release(len(self._held) if match is None else match[0])
        self._held = ""
        return text, None if match is None else match[1]

    def _close_tokens(self) -> None:
        self._ends.extend([self._fed_chars] * self._unfinished)
        self._unfinished = 0

    def _match(self) -> tuple[int, str] | None:
        """Return where the stop string begins that is complete first, and the string; None if there is none."""
        matches = [(at + len(stop), at, stop) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if not matches:
            return None
        _, at, stop = min(matches)
        return at, stop

    def _kept_chars(self) -> int:
        """Count the characters at the end of the held text that begin a stop string."""
        held = self._held
        longest = 0
        for stop in self.stops:
            for size in range(min(len(stop) - 1, len(held)), longest, -1):
                if held.endswith(stop[:size]):
                    longest = size
                    break
        return longest

    def _release(self, chars: int) -> str:
        text, self._held = self._held[:chars], self._held[chars:]
        self._released_chars += chars
        while self._ends and self._ends[0] <= self._released_chars:
            self._ends.popleft()
            self.released_tokens += 1
        return text
