"""Incoming: the text of an answer as it comes, and reading that waits where it ends. Pure.

Readers are generators: they stop where text is missing and go on when there is more. Nothing is read twice, and only
what somebody may come back to is kept.

    positions   [0 ... passed over ... hold ... mark ... at ... here so far)   count from the beginning of the answer
    kept                              [.................................)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator, Sequence

from ..text import find_first, open_tail

Steps = Generator[None, None, None]
"""Reading that goes on when there is more text."""
MAX_RUN = 1024
"""Characters of a name, a key or an id."""


class Mismatch(Exception):
    """The text does not go on as the pattern does."""


class End(Exception):
    """There is no more text."""


class Incoming:
    """Text that comes in pieces; `at` is where it is read."""

    def __init__(self, text: str = "") -> None:
        self.at = 0
        self.hold: int | None = None
        """From where on the text is kept, should it turn out to be content."""
        self.is_over = False
        """No more comes."""
        self.is_cut = False
        """Because the answer was ended before the model did."""
        self._text = text
        self._start = 0
        """The position of the text's first character."""
        self._mark: int | None = None
        """Where reading goes back to, unless it finds what it looks for."""

    def feed(self, text: str) -> None:
        kept = next(position for position in (self.hold, self._mark, self.at) if position is not None)
        self._text = self._text[kept - self._start :] + text
        self._start = kept

    def keep(self) -> None:
        """Keep the text from here on, until `hold` is None."""
        self.hold = self.at

    # --- what is here

    @property
    def end(self) -> int:
        """The position after all that has come so far."""
        return self._start + len(self._text)

    def rest(self) -> str:
        return self._text[self.at - self._start :]

    def since(self, start: int) -> str:
        """From a position that is kept up to where it is read."""
        return self._text[start - self._start : self.at - self._start]

    def next(self) -> str:
        """The next character; empty if it has not come."""
        place = self.at - self._start
        return self._text[place : place + 1]

    def take(self, feed: Callable[[str, int], int]) -> str:
        """What a scanner takes of it."""
        place = self.at - self._start
        stop = feed(self._text, place)
        self.at = self._start + stop
        return self._text[place:stop]

    # --- reading

    def more(self) -> Steps:
        """Wait for more text. Raises End."""
        if self.is_over:
            raise End
        yield

    def skip_space(self) -> Steps:
        """Pass over white space: something else follows then. Raises End."""
        while True:
            rest = self.rest()
            stripped = rest.lstrip()
            self.at += len(rest) - len(stripped)
            if stripped:
                return
            yield from self.more()

    def sees(self, words: Sequence[str]) -> Generator[None, None, str]:
        """Which of these literals comes next, the longest; empty if none does."""
        while True:
            place = self.at - self._start
            longest = max((word for word in words if self._text.startswith(word, place)), key=len, default="")
            n_left = len(self._text) - place
            if self.is_over or not any(
                len(word) > max(n_left, len(longest)) and word.startswith(self.rest()) for word in words
            ):
                return longest
            yield

    def next_word(self, words: Sequence[str]) -> Generator[None, None, str]:
        """Which of these literals comes after white space, which then is passed over; empty if none does."""
        self._mark = start = self.at
        try:
            yield from self.skip_space()
            word = yield from self.sees(words)
        except End:
            word = ""
        self._mark = None
        if not word:
            self.at = start
        return word

    def takes(self, *words: str) -> Generator[None, None, bool]:
        """Whether one of these literals comes after white space; both then are passed over."""
        word = yield from self.next_word(words)
        self.at += len(word)
        return bool(word)

    def needs(self, word: str) -> Steps:
        """Pass over a literal, after white space. Raises Mismatch, or End where it may yet have come."""
        if not (yield from self.takes(word)):
            if self.is_over and word.startswith(self.rest().strip()):
                raise End
            raise Mismatch

    def run(self, chars: str) -> Generator[None, None, str]:
        """Some characters of a class, at least one. Raises Mismatch, or End."""
        yield from self.skip_space()
        pattern = _run_pattern(chars)
        while True:
            place = self.at - self._start
            found = pattern.match(self._text, place)
            assert found, "any text begins with none or several of them"
            if found.end() < len(self._text) or self.is_over:
                break
            yield
        if not 0 < found.end() - place < MAX_RUN:
            raise Mismatch
        self.at = self._start + found.end()
        return found.group()

    def name(self, known: Sequence[str], chars: str) -> Generator[None, None, str]:
        """A name: one of those that are `known`, whatever they are made of, or else some characters of a class."""
        yield from self.skip_space()
        word = yield from self.sees(known)
        if word:
            while self.at + len(word) == self.end and not self.is_over:
                yield
            place = self.at + len(word) - self._start
            if not re.match(chars, self._text[place : place + 1]):
                self.at += len(word)
                return word
        return (yield from self.run(chars))

    def prose(
        self, ends: Sequence[str], show: Callable[[str], None], *, trims: bool = True
    ) -> Generator[None, None, str]:
        """Show text up to one of `ends`, which comes next then; empty if the text has ended.

        `trims`: the white space before an end is not shown, and comes next.
        """
        while True:
            rest = self.rest()
            hit = find_first(rest, ends)
            n_ready = hit[0] if hit else len(rest) if self.is_over else open_tail(rest, ends)
            text = rest[:n_ready].rstrip() if trims else rest[:n_ready]
            show(text)
            self.at += len(text)
            if hit:
                return hit[1]
            if self.is_over:
                return ""
            yield


@functools.cache
def _run_pattern(chars: str) -> re.Pattern[str]:
    return re.compile(f"{chars}{{0,{MAX_RUN}}}")
