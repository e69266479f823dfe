"""Progress: one line on a terminal that is written over; nothing where stderr is no terminal."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

CLEAR = "\r\x1b[K"


def say(text: str) -> None:
    """What is not a result goes to stderr, the results to stdout."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Shows what runs and for how long. `head` stands in front of every line."""

    def __init__(self, stream: TextIO) -> None:
        self.head = ""
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, text: str) -> None:
        if self._is_terminal:
            minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
            line = f"{minutes}:{seconds:02d}  {self.head} · {text}"
            self._stream.write(CLEAR + line[: shutil.get_terminal_size().columns - 1])
            self._stream.flush()

    def begin(self, text: str) -> None:
        """The same, as a line of its own where there is no terminal."""
        if self._is_terminal:
            self.show(text)
        else:
            print(f"{self.head} · {text}", file=self._stream, flush=True)

    def clear(self) -> None:
        if self._is_terminal:
            self._stream.write(CLEAR)
            self._stream.flush()
