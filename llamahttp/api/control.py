"""Control: completions by the ids that clients know, for requests about them while they run. Event loop only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ..queue import ResultStream


class HasStream(Protocol):
    """An answer, as far as it matters here."""

    stream: ResultStream


class Controls:
    """The completions that run."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[bool, list[ResultStream]]] = {}

    @contextmanager
    def register(self, id_completion: str, is_controlled: bool, answers: Sequence[HasStream]) -> Iterator[None]:
        """A completion runs within the block, if it has an id; `is_controlled`: its thoughts can be ended."""
        if id_completion:
            self._running[id_completion] = is_controlled, [answer.stream for answer in answers]
        try:
            yield
        finally:
            self._running.pop(id_completion, None)

    async def end_reasoning(self, id_completion: str) -> str | None:
        """End the thoughts of a completion. Returns why that is not possible."""
        is_controlled, streams = self._running.get(id_completion, (False, []))
        if not streams:
            return "no active completion for this id"
        if not is_controlled:
            return "reasoning control not enabled for this completion"
        are_running = [await stream.end_reasoning() for stream in streams]
        return None if any(are_running) else "no active completion for this id"
