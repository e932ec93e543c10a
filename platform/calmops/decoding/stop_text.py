"""Stop strings over text that comes token by token. Holds back only what may still become a stop string. Pure."""

from collections import deque


class StopText:
    """One choice's text. A matched stop string is not released, nor anything after it."""

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._stops = stops
        self._held = ""
        self._fed = 0  # characters
        self._given = 0  # characters released
        self._ends: deque[int] = deque()  # of tokens not wholly released: where their text ends
        self.released_tokens = 0

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take one token's text; what it releases, and the stop string that it completed, if it did."""
        self._fed += len(text)
        self._ends.append(self._fed)
        self._held += text
        match = self._match()
        if match is not None:
            at, stop = match
            return self._release(at), stop
        return self._release(len(self._held) - self._keep()), None

    def finish(self) -> str:
        """No more text comes: release what was held back."""
        return self._release(len(self._held))

    def _match(self) -> tuple[int, str] | None:
        """The earliest stop string in the held text; of those that begin together, the longest."""
        found = [(at, -len(stop), stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if not found:
            return None
        at, _, stop = min(found)
        return at, stop

    def _keep(self) -> int:
        """Characters at the end of the held text that begin some stop string."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        return longest

    def _release(self, size: int) -> str:
        text, self._held = self._held[:size], self._held[size:]
        self._given += size
        while self._ends and self._ends[0] <= self._given:
            self._ends.popleft()
            self.released_tokens += 1
        return text
