"""Turns tokens into text, one choice at a time: whole characters only, and nothing that may become a stop string.

After a migration it is rebuilt from the emitted ids; the same ids always give the same text and the same released
count. Knows no logits and no other choice.
"""

import codecs
from collections.abc import Iterable

from calmops.decoding.stop_text import StopText
from calmops.engine.vocabulary import Vocabulary


class Detokenizer:
    """Decodes one choice's text. Bytes that can't be UTF-8 become U+FFFD; an unfinished character is held back."""

    def __init__(self, vocabulary: Vocabulary, stops: tuple[str, ...], emitted: Iterable[int] = ()) -> None:
        """Begin after ``emitted``, the ids whose text an earlier attempt has released already."""
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = StopText(stops)
        for token_id in emitted:
            self.feed(token_id)

    @property
    def released(self) -> int:
        """Return the number of tokens, from answer index 0, whose text has been released for good."""
        return self._stops.released_tokens

    def feed(self, token_id: int) -> tuple[str, str | None]:
        """Take one token; return the text that it releases, and the stop string that it completed, if any."""
        text = self._utf8.decode(self._vocabulary.bytes_of(token_id))
        return self._stops.feed(text, unfinished=bool(self._utf8.getstate()[0]))

    def finish(self) -> tuple[str, str | None]:
        """Return what was held back, since no more tokens come. An unfinished character at the end becomes U+FFFD."""
        return self._stops.finish(self._utf8.decode(b"", final=True))
