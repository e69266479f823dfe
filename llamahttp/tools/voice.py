"""Voice: what a parser has found and nobody has been told of yet: content, thoughts, and where these go. Pure."""

from __future__ import annotations

import enum
from collections.abc import Generator

from .events import Content, Event, Reasoning, append
from .incoming import Incoming


class ThoughtsIn(enum.Enum):
    """Where the thoughts go."""

    REASONING = enum.auto()
    CONTENT = enum.auto()
    """With the tags, as they came."""
    BOTH = enum.auto()


class Voice:
    """The events of one answer; `show`, `say` and `think` add to them."""

    def __init__(self, thoughts: ThoughtsIn) -> None:
        self.thoughts = thoughts
        self.has_content = False
        self._has_thought = False
        self._events: list[Event] = []

    def taken(self) -> list[Event]:
        """What is new."""
        events, self._events = self._events, []
        return events

    def show(self, event: Event) -> None:
        append(self._events, event)

    def say(self, text: str) -> None:
        if text:
            self.has_content = True
            self.show(Content(text))

    def think(self, text: str) -> None:
        if not self._has_thought:
            text = text.lstrip()
        if text:
            self._has_thought = True
            self.show(Reasoning(text))

    def read_thought(
        self, text: Incoming, opening: str, ends: tuple[str, ...], others: tuple[str, ...] = ()
    ) -> Generator[None, None, str]:
        """Show a thought that began with `opening`, up to one of `ends`, or of `others`, which are no part of it; that
        comes next then. Empty if the text has ended. A thought that is content keeps its tags and white space."""
        self._has_thought = False
        if self.thoughts is ThoughtsIn.REASONING:
            return (yield from text.prose((*ends, *others), self.think))
        self.say(opening)
        hit = yield from text.prose((*ends, *others), self._think_aloud, trims=False)
        if hit in ends:
            self.say(hit)
        return hit

    def _think_aloud(self, text: str) -> None:
        self.say(text)
        if self.thoughts is ThoughtsIn.BOTH:
            self.think(text)
