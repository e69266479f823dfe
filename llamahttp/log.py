"""Log: what the terminal and the log file show. Everything else only calls `logging.getLogger(__name__)`."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from .config import LogConfig
from .errors import StartupError

OUTPUT = 60
"""Level of the program's own output (what it serves and where): above every fault, so that no threshold hides it."""
TRACE = 15
"""Between info and debug, as llama-server has it."""

MAX_WAITING = 10_000
"""Messages that wait for a terminal or pipe that nobody reads before further ones are lost."""
LAST_WORDS_S = 1.0
"""How long the end of the program waits for them to be written."""

LETTERS = {logging.ERROR: "E", logging.WARNING: "W", logging.INFO: "I", TRACE: "T", logging.DEBUG: "D"}
COLORS = {"E": "31", "W": "35", "I": "32", "T": "36", "D": "33"}


def setup(config: LogConfig) -> None:
    """Send the log where the configuration says. Raises StartupError for a log file that cannot be written."""
    logging.addLevelName(TRACE, "TRACE")
    logging.addLevelName(OUTPUT, "OUTPUT")
    root = logging.getLogger("llamahttp")
    root.propagate = False
    root.handlers = [] if config.disable else _handlers(config)
    root.setLevel(OUTPUT + 1 if config.disable else threshold(config.verbosity))


def threshold(verbosity: int) -> int:
    """The level of `logging` for one of llama-server's verbosities."""
    levels = (OUTPUT, logging.ERROR, logging.WARNING, logging.INFO, TRACE)
    return levels[verbosity] if verbosity < len(levels) else logging.DEBUG


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def use_colors(config: LogConfig, stream: TextIO) -> bool:
    if config.colors is not None:
        return config.colors
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def _handlers(config: LogConfig) -> list[logging.Handler]:
    handlers: list[logging.Handler] = []
    if config.jsonl:
        handlers.append(_handler(sys.stdout, JsonFormatter()))
    else:
        handlers += [_text_handler(sys.stdout, config), _text_handler(sys.stderr, config)]
        handlers[0].addFilter(lambda record: record.levelno == OUTPUT)
        handlers[1].addFilter(lambda record: record.levelno != OUTPUT)
    if config.file is not None:
        handlers.append(_file_handler(config))
    return handlers


def _text_handler(stream: TextIO, config: LogConfig) -> logging.Handler:
    clear = "\r\x1b[K" if is_terminal(stream) else ""
    return _handler(stream, TextFormatter(config, colors=use_colors(config, stream), clear=clear))


def _handler(stream: TextIO, formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    return handler


def _file_handler(config: LogConfig) -> logging.Handler:
    assert config.file is not None
    try:
        handler = logging.FileHandler(config.file, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"--log-file: cannot write {config.file}: {error.strerror}") from None
    handler.setFormatter(JsonFormatter() if config.jsonl else TextFormatter(config))
    return handler


@contextlib.contextmanager
def in_background() -> Iterator[None]:
    """Write the log on a thread of its own while the block runs.

    A terminal that is paused, or a pipe that a parent process does not read, then holds up no token.
    """
    root = logging.getLogger("llamahttp")
    handlers, waiting = root.handlers, Waiting()
    writer = threading.Thread(target=_write, args=(waiting, handlers), name="log", daemon=True)
    root.handlers = [waiting] if handlers else []
    writer.start()
    try:
        yield
    finally:
        root.handlers = handlers
        waiting.end()
        writer.join(LAST_WORDS_S)


class Waiting(logging.handlers.QueueHandler):
    """Formats messages and keeps them for the writer; when too many wait it counts what is lost."""

    def __init__(self) -> None:
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(MAX_WAITING)
        super().__init__(self._records)
        self._n_lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._n_lost += 1

    def end(self) -> None:
        """Nothing more comes."""
        with contextlib.suppress(queue.Full):
            self._records.put_nowait(None)

    def take(self) -> logging.LogRecord | None:
        """The next message; None after the last one. Blocks."""
        if self._n_lost:
            lost, self._n_lost = self._n_lost, 0
            values = {"levelno": logging.WARNING, "levelname": "WARNING", "msg": f"{lost} messages of the log are lost"}
            return logging.makeLogRecord(values)
        return self._records.get()


def _write(waiting: Waiting, handlers: Sequence[logging.Handler]) -> None:
    while (record := waiting.take()) is not None:
        for handler in handlers:
            handler.handle(record)


class TextFormatter(logging.Formatter):
    """`12:34:56.789 I message`; the program's own output goes without time and letter.

    `clear` goes first: it wipes a progress bar off the terminal's last line.
    """

    def __init__(self, config: LogConfig, *, colors: bool = False, clear: str = "") -> None:
        super().__init__()
        self._config = config
        self._colors = colors
        self._clear = clear

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        prefix = "" if record.levelno == OUTPUT else self._prefix(record)
        return self._clear + prefix + text

    def _prefix(self, record: logging.LogRecord) -> str:
        prefix = ""
        if self._config.timestamps:
            clock = time.strftime("%H:%M:%S", time.localtime(record.created))
            prefix += self._color("34", f"{clock}.{int(record.msecs):03d}") + " "
        if self._config.prefix:
            letter = LETTERS.get(record.levelno, "I")
            prefix += self._color(COLORS[letter], letter) + " "
        return prefix

    def _color(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colors else text


class JsonFormatter(logging.Formatter):
    """One object a line with llama-server's keys; `time` is in microseconds since the epoch."""

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        return json.dumps(
            {"type": "log", "time": int(record.created * 1e6), "level": level, "msg": super().format(record)}
        )
