"""Reasoning: what a model thinks between `<think>` and `</think>`, told apart from what it says. Pure."""

from __future__ import annotations

import enum

from ..text import open_tail

OPEN, CLOSE = "<think>", "</think>"


def open_thought(prompt: str) -> str:
    """The end of a prompt that has begun a thought: `<think>` with the white space after it; empty if it has not."""
    stripped = prompt.rstrip()
    return prompt[len(stripped) - len(OPEN) :] if stripped.endswith(OPEN) else ""


class State(enum.Enum):
    """Where in an answer the text stands."""

    START = enum.auto()
    """Nothing but white space, or a part of `<think>`, has come."""
    THOUGHT = enum.auto()
    GAP = enum.auto()
    """White space after `</think>`, which belongs to neither."""
    CONTENT = enum.auto()


class ReasoningSplitter:
    """Splits the text of one answer, given in parts, into reasoning and content.

    Only a thought at the beginning counts: a tag later on is content. White space around the thought is dropped.
    """

    def __init__(self, *, is_open: bool) -> None:
        """`is_open`: the prompt has begun the thought already."""
        self._state = State.THOUGHT if is_open else State.START
        self._held = ""
        self._has_thought = False

    @property
    def is_done(self) -> bool:
        """All that comes from now on is content."""
        return self._state is State.CONTENT

    def feed(self, text: str) -> tuple[str, str]:
        """Take text; return the reasoning and the content that can go out now, perhaps none."""
        reasoning = ""
        if self._state is State.START:
            text = self._find_start(text)
        if self._state is State.THOUGHT:
            reasoning, text = self._read_thought(text)
        if self._state is State.GAP:
            text = text.lstrip()
            if text:
                self._state = State.CONTENT
        return reasoning, text

    def finish(self) -> tuple[str, str]:
        """The rest, when no more text comes."""
        held, self._held = self._held, ""
        if self._state is State.THOUGHT:
            return self._trimmed(held.rstrip()), ""
        return "", held

    def _find_start(self, text: str) -> str:
        """Decide whether the answer begins with a thought; returns what comes after that decision."""
        text = self._held + text
        begun = text.lstrip()
        if begun.startswith(OPEN):
            self._state, self._held = State.THOUGHT, ""
            return begun[len(OPEN) :]
        if OPEN.startswith(begun):
            self._held = text
            return ""
        self._state, self._held = State.CONTENT, ""
        return text

    def _read_thought(self, text: str) -> tuple[str, str]:
        """The part of a thought that can go out, and what follows its end."""
        text = self._held + text
        thought, tag, rest = text.partition(CLOSE)
        if tag:
            self._state, self._held = State.GAP, ""
            return self._trimmed(thought.rstrip()), rest
        # white space before what may be the closing tag is held back with it
        n_ready = len(text[: open_tail(text, (CLOSE,))].rstrip())
        self._held = text[n_ready:]
        return self._trimmed(text[:n_ready]), ""

    def _trimmed(self, thought: str) -> str:
        if not self._has_thought:
            thought = thought.lstrip()
            self._has_thought = bool(thought)
        return thought
