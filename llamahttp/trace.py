"""Trace: how long every beat of every step took, for whoever profiles the engine. Engine thread only.

    LLAMAHTTP_STEP_TRACE=steps.csv llamahttp -m model.gguf

`python -m bench.steps steps.csv` shows what is in such a file.
"""

from __future__ import annotations

import enum
import os
import time
from typing import Protocol, TextIO

from .errors import StartupError

VARIABLE = "LLAMAHTTP_STEP_TRACE"
"""Environment variable that names the file."""

BUFFER_BYTES = 1 << 20
"""Written in pieces of this size, some 20,000 steps each, so that a step is rarely disturbed."""


class Beat(enum.IntEnum):
    """What a part of a step was spent on, in the order of a step."""

    WAIT = 0
    """For something to do."""
    PLAN = enum.auto()
    """Messages, placement, the plan, the rows of the batch."""
    DECODE = enum.auto()
    SAMPLE = enum.auto()
    APPLY = enum.auto()
    """Advancing the slots."""
    DELIVER = enum.auto()
    REST = enum.auto()
    """Embeddings and what is stored; ends the step."""


HEADER = ("at_s", "n_generating", "n_prompt", *(f"{beat.name.lower()}_us" for beat in Beat))


class StepTrace(Protocol):
    """Is told by the engine how far a step is."""

    def lap(self, beat: Beat) -> None:
        """What went on since the last call was this. A beat may come several times in a step."""

    def end(self, n_generating: int, n_prompt: int) -> None:
        """The step is over; it computed a token for each of `n_generating` slots and `n_prompt` of prompts."""

    def close(self) -> None:
        """There are no more steps."""


class NoTrace:
    """Nobody wants to know."""

    def lap(self, beat: Beat) -> None: ...

    def end(self, n_generating: int, n_prompt: int) -> None: ...

    def close(self) -> None: ...


class FileTrace:
    """Writes a line of HEADER for every step that computed something. `at_s` is of `time.perf_counter()`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._file.write(",".join(HEADER) + "\n")
        self._spent = [0.0] * len(Beat)
        self._last = time.perf_counter()

    def lap(self, beat: Beat) -> None:
        now = time.perf_counter()
        self._spent[beat] += now - self._last
        self._last = now

    def end(self, n_generating: int, n_prompt: int) -> None:
        if n_generating or n_prompt:
            times = ",".join(f"{1e6 * seconds:.1f}" for seconds in self._spent)
            self._file.write(f"{self._last:.6f},{n_generating},{n_prompt},{times}\n")
            self._spent = [0.0] * len(Beat)

    def close(self) -> None:
        self._file.close()


def open_trace() -> StepTrace:
    """What the environment asks for. Raises StartupError for a file that cannot be written."""
    path = os.environ.get(VARIABLE)
    if not path:
        return NoTrace()
    try:
        return FileTrace(open(path, "w", buffering=BUFFER_BYTES, encoding="utf-8"))
    except OSError as error:
        raise StartupError(f"{VARIABLE}: cannot write {path}: {error.strerror}") from None
