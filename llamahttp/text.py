"""Tokens to text: incremental UTF-8, stop strings, holding back what may become one.

Pure; one assembler a request, on the event loop, called for every token of every stream.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Iterable, Sequence
from typing import overload


def find_first(text: str, words: Sequence[str]) -> tuple[int, str] | None:
    """Where the earliest of `words` begins in `text`, and which: of two at one place the first listed."""
    best: tuple[int, str] | None = None
    for word in words:
        at = text.find(word)
        if at >= 0 and (best is None or at < best[0]):
            best = at, word
    return best


def open_tail(text: str, words: Sequence[str]) -> int:
    """Where the longest tail of `text` begins that may become a word, not being one; len(text) if none."""
    first = len(text)
    for word in words:
        at = text.find(word[0], max(0, len(text) - len(word) + 1), first)
        while at >= 0:
            if word.startswith(text[at:]):
                first = at
                break
            at = text.find(word[0], at + 1, first)
    return first


def encodable(text: str) -> str:
    """`text` with a question mark for each half of a character, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


class TextAssembler:
    """The text of one answer, as far as it may be shown.

    Bytes that are no UTF-8 become U+FFFD as with Python's decoders; a character whose bytes have not all come
    waits. A stop string ends the text before itself. As in llama-server each token is looked at once, when it
    comes: the earliest stop string in the text so far counts, though a longer one around it might have been
    completed later. How the tokens are spread over calls of `feed` makes no difference.
    """

    def __init__(self, pieces: Sequence[bytes], stop: Sequence[str] = ()) -> None:
        self._pieces = pieces
        self._stop = tuple(word for word in stop if word)
        self._bytes = b""  # the beginning of a character whose rest has not come
        self._held = ""  # the beginning of what may be a stop string
        self._given: list[str] = []
        self.stopped: str | None = None
        """The stop string that was hit."""
        self.n_tokens = 0
        """Tokens taken, up to and including the one that completed the stop string."""

    @property
    def text(self) -> str:
        """All that was given out so far."""
        if len(self._given) > 1:
            self._given = ["".join(self._given)]
        return self._given[0] if self._given else ""

    def feed(self, ids: Iterable[int]) -> str:
        """Take tokens; return the text that can go out now, perhaps none. After a stop none are taken."""
        if self.stopped is not None:
            return ""
        ids = tuple(ids)
        pieces = self._pieces
        data = b"".join([pieces[id_token] for id_token in ids])
        if self._bytes:
            data = self._bytes + data
        text, n_used = utf_8_decode(data, "replace", False)
        if self._stop:
            text = self._held + text
            hit = find_first(text, self._stop)
            if hit and len(ids) > 1:
                return self._feed_singly(ids)
            text = self._cut(text, hit)
        self._bytes = data[n_used:]
        self.n_tokens += len(ids)
        self._given.append(text)
        return text

    def finish(self) -> str:
        """The rest, when no more tokens come: what was held back, U+FFFD for a character without its end."""
        if self.stopped is not None:
            return ""
        text = self._held + self._bytes.decode("utf-8", "replace")
        self._bytes, self._held = b"", ""
        hit = find_first(text, self._stop)
        if hit:
            text = self._cut(text, hit)
        self._given.append(text)
        return text

    def _feed_singly(self, ids: tuple[int, ...]) -> str:
        """`ids` complete a stop string: token by token, to learn which one did."""
        return "".join([self.feed((id_token,)) for id_token in ids])

    def _cut(self, text: str, hit: tuple[int, str] | None) -> str:
        """The part of `text` that may go out; the rest is held back, or dropped after a hit."""
        if hit:
            at, self.stopped = hit
            self._held = ""
        else:
            at = open_tail(text, self._stop)
            self._held = text[at:]
        return text[:at]


class ShownPieces(Sequence[bytes]):
    """Bytes of each token as they appear in an answer, where some control tokens do: a view."""

    def __init__(self, pieces: Sequence[bytes], special_pieces: Sequence[bytes], shown: frozenset[int]) -> None:
        self._pieces = pieces
        self._special_pieces = special_pieces
        self._shown = shown

    @overload
    def __getitem__(self, token: int) -> bytes: ...

    @overload
    def __getitem__(self, token: slice) -> list[bytes]: ...

    def __getitem__(self, token: int | slice) -> bytes | list[bytes]:
        if isinstance(token, slice):
            return [self[each] for each in range(len(self))[token]]
        return self._special_pieces[token] if token in self._shown else self._pieces[token]

    def __len__(self) -> int:
        return len(self._pieces)
