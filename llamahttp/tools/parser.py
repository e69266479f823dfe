"""Parser: from the text of an answer, in pieces as they come, to events. Pure; one parser an answer.

What a model writes is no error: what does not fit the format is content, if nothing of the call was shown yet, and else
goes on as the text of its arguments; `is_malformed` tells.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Generator, Mapping

from . import schema
from .events import Event
from .format import ChatFormat, Island, Thought
from .incoming import End, Incoming, Mismatch, Steps
from .pattern import literals, words
from .reader import NodeReader
from .voice import ThoughtsIn, Voice

ALPHABET = string.ascii_letters + string.digits


def random_id(n: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(n))


class Parser:
    """`feed` the text of one answer, then `finish`."""

    def __init__(
        self,
        format: ChatFormat,
        tools: Mapping[str, schema.Schema] = {},
        *,
        is_open: bool = False,
        primer: str = "",
        thoughts: ThoughtsIn = ThoughtsIn.REASONING,
        make_id: Callable[[int], str] = random_id,
    ) -> None:
        """`tools`: the parameters of each, by name. `is_open`: the prompt has begun a thought already. `primer`:
        what of the prompt's end is the beginning of an island."""
        self.is_plain = False
        """All that comes from now on is content."""
        self._format = format
        self._has_broken = False
        self._text = Incoming(primer)
        self._voice = Voice(thoughts)
        self._reader = NodeReader(self._text, self._voice, format, tools, make_id)
        self._steps = self._answer(is_open)
        self._go_on()

    @property
    def is_malformed(self) -> bool:
        """Something in it was to be a call and is none."""
        return self._has_broken or self._reader.is_malformed

    @property
    def has_whole_calls(self) -> bool:
        """There are calls, and nothing is wrong with any."""
        reader = self._reader
        return reader.n_whole == reader.n_calls > 0 and not self.is_malformed

    def feed(self, text: str) -> list[Event]:
        """Take text; return what it shows, perhaps nothing."""
        self._text.feed(text)
        return self._go_on()

    def finish(self, *, is_cut: bool = False) -> list[Event]:
        """The rest, when no more text comes; `is_cut`: the answer was ended before the model did."""
        self._text.is_over, self._text.is_cut = True, is_cut
        return self._go_on()

    def _go_on(self) -> list[Event]:
        next(self._steps, None)
        return self._voice.taken()

    # --- the answer

    def _answer(self, is_open: bool) -> Steps:
        yield
        thought, text = self._format.thought, self._text
        try:
            if thought and (is_open or (yield from text.takes(thought.start.strip()))):
                yield from self._thought(thought, is_open=is_open)
        except End:
            return  # with a thought
        while True:
            island = yield from self._content()
            if island is None:
                return
            yield from self._island(island)

    def _thought(self, thought: Thought, *, is_open: bool) -> Steps:
        """Reasoning, up to its end or, where that is usual, the beginning of a call."""
        end, thoughts = thought.end.strip(), self._voice.thoughts
        islands = self._format.calls if thought.ends_with_call else ()
        calls = tuple(word for island in islands for word in island.firsts)
        # where thoughts are content, what the prompt has begun is already shown before it
        opening = "" if is_open and thoughts is ThoughtsIn.CONTENT else thought.start.strip()
        hit = yield from self._voice.read_thought(self._text, opening, (end,), calls)
        if hit == end:
            yield from self._text.takes(end)
        if thoughts is ThoughtsIn.REASONING:
            yield from self._text.skip_space()

    def _content(self) -> Generator[None, None, Island | None]:
        """Show content up to an island."""
        islands, text = self._format.islands, self._text
        ends = {word: island for island in islands for word in island.firsts}
        if any(island.is_weak for island in islands):
            if not self._voice.has_content:  # such an island begins the answer, or is none
                word = yield from text.next_word(tuple(ends))
                if word:
                    return ends[word]
            ends = {word: island for word, island in ends.items() if not island.is_weak}
        self.is_plain = not ends
        word = yield from text.prose(tuple(ends), self._voice.say, trims=bool(ends))
        if not word and not self._reader.n_calls:
            self._voice.say(text.rest())
        return ends[word] if word else None

    # --- islands

    def _island(self, island: Island) -> Steps:
        """Read an island. What turns out to be none is content, and what breaks off later goes on as arguments."""
        self._text.keep()
        try:
            yield from self._reader.island(island.node)
        except (Mismatch, End) as error:
            start = self._text.hold
            if start is not None:
                self._is_none(island, start, has_ended=isinstance(error, End))
            elif self._reader.is_in_call:
                self._has_broken |= not self._text.is_cut
                yield from self._broken(island)
        self._text.hold = None

    def _is_none(self, island: Island, start: int, *, has_ended: bool) -> None:
        """What began at `start` is content."""
        text = self._text
        is_call = island.has_call and not island.is_weak
        if has_ended:
            text.at = text.end
            if is_call and text.is_cut:  # half a call, of which nothing was shown
                return
        elif text.at == start:
            begins = text.rest()
            word = next(word for word in island.firsts if begins.lstrip().startswith(word))
            text.at += begins.index(word) + len(word)
        self._voice.say(text.since(start))
        self._has_broken |= is_call

    def _broken(self, island: Island) -> Steps:
        """The rest of a call that has been shown in part, up to what ends it, as it is."""
        last = [word for text in literals(island.node) for word in words(text)][-1:]
        hit = yield from self._text.prose(tuple(last), self._reader.say_argument)
        yield from self._text.takes(hit)
