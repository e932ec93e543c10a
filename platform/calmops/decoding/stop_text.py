"""Stop strings over text that comes token by token: on the way between detokenizer and frame. Pure.

Holds back only what may still become a stop string. A matched stop string isn't released, nor is
anything after it. Where several could match, the one that is complete first does, and of those that
end together the longest: so the outcome doesn't depend on how the text was cut into tokens.
"""

from collections import deque


class StopText:
    """One choice's text and how many of its tokens have been released for good."""

    __slots__ = ("_ends", "_fed_chars", "_given_chars", "_held", "_unfinished", "released_tokens", "stops")

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        assert all(stops), "an empty stop string would match everywhere"
        self.stops = stops
        self.released_tokens = 0  # tokens, from the first on, all of whose text has been released
        self._held = ""
        self._fed_chars = 0
        self._given_chars = 0
        self._ends: deque[int] = deque()  # for each token not yet released: where its text ends
        self._unfinished = 0  # last tokens fed whose bytes don't make characters yet

    def feed(self, text: str, *, unfinished: bool = False) -> tuple[str, str | None]:
        """Take one token's text; what that releases, and the stop string that it completed, if any.

        ``unfinished``: the token's last bytes are still in the detokenizer (part of a character), so
        it counts as released only together with the next token that isn't.
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
        """No more tokens come; ``tail`` is what the detokenizer still had. Releases what was held back.

        The tail may complete a stop string after all; that is the second value.
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
        """Where the stop string begins that is complete first, and which it is."""
        found = [(at + len(stop), at, stop) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if not found:
            return None
        _, at, stop = min(found)
        return at, stop

    def _kept_chars(self) -> int:
        """Characters at the end of the held text that begin some stop string."""
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
        self._given_chars += chars
        while self._ends and self._ends[0] <= self._given_chars:
            self._ends.popleft()
            self.released_tokens += 1
        return text
