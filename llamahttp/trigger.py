"""Triggers: what in a text switches a lazy grammar on, found as the text comes.

A token is looked up, a word is found by an automaton over bytes: constant time a token, however long the text. A
pattern is searched for with RE2, which is linear in the text and knows no way to be slow, in the last `WINDOW` bytes:
some 20 us a token at most. (`re` would do for friends: one request's `(a+)+b` would hold the GIL for ever.)
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import re2

from .automaton import START, Automaton
from .errors import InvalidRequest

WINDOW = 16 << 10
"""Bytes at the end of a text in which a pattern is looked for; one that is bound to the text's beginning is given up
when the text is longer."""
MAX_PATTERN = 8192
"""Characters of a word or a pattern."""


class TriggerKind(enum.IntEnum):
    """Values as in requests."""

    TOKEN = 0
    WORD = 1
    PATTERN = 2
    PATTERN_FULL = 3
    """Of the whole text so far."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One thing to look for: `token`, or else `value`."""

    kind: TriggerKind
    value: str = ""
    token: int = -1


@dataclass(frozen=True, slots=True)
class Found:
    """Where the text begins that the grammar is for."""

    head: bytes
    """The rest of a token in whose middle it begins."""
    tokens: tuple[int, ...]
    """The tokens after that."""


class Triggers:
    """The triggers of a request, compiled. Any thread. Raises InvalidRequest for a pattern that RE2 does not take."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.tokens = frozenset(trigger.token for trigger in triggers if trigger.kind is TriggerKind.TOKEN)
        texts = [trigger for trigger in triggers if trigger.kind is not TriggerKind.TOKEN]
        for trigger in texts:
            if not 0 < len(trigger.value) <= MAX_PATTERN:
                raise InvalidRequest(
                    f"Field 'grammar_triggers': a value has {len(trigger.value)} characters, "
                    f"but must have between 1 and {MAX_PATTERN}"
                )
        words = [(i, text.value.encode()) for i, text in enumerate(texts) if text.kind is TriggerKind.WORD]
        self.word_ranks = [i for i, _ in words]
        self.words = Automaton([word for _, word in words])
        self.patterns = [(i, compile_pattern(text)) for i, text in enumerate(texts) if text.kind > TriggerKind.WORD]
        """Each with its rank: of several triggers in one token the first listed counts."""
        self.n_kept = WINDOW if self.patterns else max((len(word) for _, word in words), default=0)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern over bytes."""

    regex: Any
    is_bound: bool
    """It matches only at the beginning of the text."""


def compile_pattern(trigger: Trigger) -> Pattern:
    source = trigger.value
    if trigger.kind is TriggerKind.PATTERN_FULL:
        source = ("" if source.startswith("^") else "^") + source + ("" if source.endswith("$") else "$")
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, as the text is, which may end within a character
    options.log_errors = False
    try:
        return Pattern(re2.compile(source.encode(), options), source.startswith("^"))
    except re2.error as error:
        reason = error.args[0] if error.args else "not a regular expression"
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise InvalidRequest(f"Field 'grammar_triggers': the pattern {source!r} cannot be used: {reason}") from None


class TriggerScanner:
    """Looks for the triggers in one text."""

    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers
        self._state = START
        self._text = bytearray()  # the end of the text, as far as a trigger may reach back
        self._recent: deque[tuple[int, int]] = deque()  # tokens of `_text` and how many bytes each has in it
        self._is_cut = False

    def feed(self, token: int, piece: bytes) -> Found | None:
        """Take a token; what the grammar is to begin with, if this completes a trigger."""
        triggers = self._triggers
        if token in triggers.tokens:
            return Found(b"", (token,))
        before = len(self._text)
        self._text += piece
        self._recent.append((token, len(piece)))
        start = self._find(piece, before)
        if start is not None:
            found = self._from(start)
            self._forget(start + 1)  # should the grammar refuse it, it is not found again
            return found
        self._forget(len(self._text) - triggers.n_kept)
        return None

    def _find(self, piece: bytes, before: int) -> int | None:
        """Where in `_text` the first listed of the triggers begins that now are complete."""
        best: tuple[int, int] | None = None
        triggers, state = self._triggers, self._state
        for end, byte in enumerate(piece, before + 1):
            state = triggers.words.step(state, byte)
            for word in triggers.words.ends(state):
                found = triggers.word_ranks[word], end - len(triggers.words.sequences[word])
                best = found if best is None else min(best, found)
        self._state = state
        text = bytes(self._text) if triggers.patterns else b""
        for rank, pattern in triggers.patterns:
            if best is not None and best[0] < rank:
                break
            match = None if pattern.is_bound and self._is_cut else pattern.regex.search(text)
            if match is not None:
                best = rank, _start(match)
        return None if best is None else best[1]

    def _from(self, start: int) -> Found:
        """The text from `start` on as the grammar takes it: whole tokens, but for the first."""
        at = 0
        head, tokens = b"", []
        for token, n_bytes in self._recent:
            if at >= start:
                tokens.append(token)
            elif at + n_bytes > start:
                head = bytes(self._text[start : at + n_bytes])
            at += n_bytes
        return Found(head, tuple(tokens))

    def _forget(self, n: int) -> None:
        """Drop what lies before the last `len - n` bytes."""
        if n <= 0:
            return
        self._is_cut = True
        del self._text[:n]
        while self._recent and n >= self._recent[0][1]:
            n -= self._recent.popleft()[1]
        if n and self._recent:
            token, n_bytes = self._recent[0]
            self._recent[0] = token, n_bytes - n


def _start(match: Any) -> int:
    """Where its first group begins that matched some text, else where the match does."""
    for group in range(1, match.re.groups + 1):
        first, last = match.span(group)
        if last > first:
            return int(first)
    return int(match.start())
