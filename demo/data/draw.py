"""Draw: the one source of chance of the generator, and the border between training and held-out values.

A value belongs to the held-out part when the checksum of its text falls on 0 modulo HELD_OUT_EVERY; the part does not
depend on any seed, so a held-out name, sum or wording is never trained on.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence
from string import ascii_lowercase
from typing import TypeVar

from . import words

T = TypeVar("T")
HELD_OUT_EVERY = 10
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\$(\w+)")


def is_held_out(value: object) -> bool:
    """Whether `value` belongs to the held-out part."""
    return zlib.crc32(repr(value).lower().encode()) % HELD_OUT_EVERY == 0


class Draw:
    """Random choices, restricted to the training values or to the held-out ones."""

    def __init__(self, seed: int | str, held_out: bool = False) -> None:
        self.random = random.Random(seed)
        self.held_out = held_out

    def pick(self, options: Sequence[T]) -> T:
        return options[self.random.randrange(len(options))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different members in random order."""
        return self.random.sample(list(options), count)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def fresh(self, make: Callable[[], T], n_tries: int = 200) -> T:
        """A value of `make` that belongs to this part; after `n_tries` any value (the set may have none)."""
        value = make()
        for _ in range(n_tries):
            if is_held_out(value) == self.held_out:
                break
            value = make()
        return value

    def expand(self, pattern: str) -> str:
        """Resolve every `[one|two|]` of a pattern, innermost first."""
        while CHOICE.search(pattern):
            pattern = CHOICE.sub(lambda found: self.pick(found[1].split("|")), pattern)
        return " ".join(pattern.split(" "))

    def fill(self, pattern: str, **values: object) -> str:
        """Expand a pattern, then put the values in the place of `$name`."""
        return SLOT.sub(lambda found: str(values.get(found[1], found[0])), self.expand(pattern))

    def ask(self, pattern: str, **values: object) -> str:
        """A user's wording: as `fill`, but sometimes without capitals or punctuation, or with a polite opening."""
        text = self.expand(pattern)
        if self.chance(0.06):
            text = self.pick(("Please ", "Hey, ", "Hi! ", "Ok, ", "So, ", "Now, ")) + text[:1].lower() + text[1:]
        if self.chance(0.25):
            text = text.lower()  # the names of slots are lower-case anyway
        if self.chance(0.25) and text[-1:] in "?.!":
            text = text[:-1]
        elif self.chance(0.04):
            text += self.pick(("?", "!", " ", " please", " :)"))
        return SLOT.sub(lambda found: str(values.get(found[1], found[0])), text)

    def made_up(self, low: int = 2, high: int = 3) -> str:
        """A word that is in no list: of `low` to `high` syllables, of two halves of known words, or of any letters.

        The three together bring up nearly all tokens, so that copying is learnt for words of every kind.
        """
        match self.random.random():
            case roll if roll < 0.45:
                n_syllables = self.number(low, high)
                return "".join(self.pick(words.ONSETS) + self.pick(words.RIMES) for _ in range(n_syllables))
            case roll if roll < 0.88:
                first, second = self.pick(words.ALL).lower(), self.pick(words.ALL).lower()
                return first[: self.number(1, len(first))] + second[self.number(1, len(second) - 1) :]
            case _:
                return "".join(self.pick(ascii_lowercase) for _ in range(self.number(2, 6)))

    def name(self) -> str:
        """A first name of this part: a known one or an invented one."""
        if self.chance(0.5):
            return self.fresh(lambda: self.pick(words.NAMES))
        return self.fresh(lambda: self.made_up().capitalize())

    def town(self) -> str:
        if self.chance(0.5):
            return self.fresh(lambda: self.pick(words.TOWNS))
        return self.fresh(lambda: self.made_up().capitalize())

    def word(self) -> str:
        """A noun of this part, or an invented word."""
        if self.chance(0.7):
            return self.fresh(lambda: self.pick(words.NOUNS))
        return self.fresh(self.made_up)

    def digits(self, low: int, high: int) -> int:
        """A number of `low` to `high` digits, of this part."""
        return self.fresh(lambda: self._digits(self.number(low, high)))

    def _digits(self, n_digits: int) -> int:
        return self.number(10 ** (n_digits - 1) if n_digits > 1 else 0, 10**n_digits - 1)
