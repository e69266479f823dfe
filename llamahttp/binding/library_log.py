"""The library's log: libllama's lines go to `logging`, and its errors into the exceptions that they explain.

What libllama says on a thread belongs to the call that this thread makes: nothing is shared between threads.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from .functions import CONSTANTS
from .structs import LOG_CALLBACK

log = logging.getLogger("llamahttp.libllama")

DEBUG, INFO, WARN, ERROR, CONT = (
    CONSTANTS[f"GGML_LOG_LEVEL_{name}"] for name in ("DEBUG", "INFO", "WARN", "ERROR", "CONT")
)

LEVELS = {
    DEBUG: logging.DEBUG,
    INFO: logging.DEBUG,  # libllama tells hundreds of lines a load at its info level
    WARN: logging.INFO,
    ERROR: logging.WARNING,
}


class _Line(threading.local):
    """What a thread has said of its current line, who is told of its errors, and whether warnings matter."""

    def __init__(self) -> None:
        self.level = INFO
        self.text = ""
        self.told: list[str] | None = None
        self.is_quiet = False


_line = _Line()


def _collect(level: int, text: bytes, _user_data: object) -> None:
    """Collect pieces until a line is complete: CONT continues the one before."""
    if level != CONT:
        _line.level, _line.text = level, ""
    _line.text += text.decode(errors="replace")
    if not _line.text.endswith("\n"):
        return
    line, _line.text = _line.text.rstrip(), ""
    level = LEVELS.get(_line.level, logging.DEBUG)
    if _line.level == ERROR and _line.told is not None:
        _line.told.append(line)
        level = logging.DEBUG
    elif _line.is_quiet:
        level = logging.DEBUG
    log.log(level, "%s", line)


_callback = LOG_CALLBACK(_collect)  # module level: libllama keeps the pointer for the life of the process


def route(log_set: Any) -> None:
    """Give a library that logs as libllama does our callback."""
    log_set(_callback, None)
    # a thread that still computes while the interpreter ends must not call into it
    atexit.register(log_set, LOG_CALLBACK(), None)


@contextlib.contextmanager
def telling_errors() -> Iterator[list[str]]:
    """Error lines that libllama logs on this thread while the block runs, for what the block raises to tell them.

    The log shows them at debug level then; if the block raises nothing, they are warnings as elsewhere.
    """
    errors: list[str] = []
    outer, _line.told = _line.told, errors
    try:
        yield errors
    finally:
        _line.told = outer
    for line in errors:
        log.warning("%s", line)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What libllama says on this thread while the block runs is of interest at debug level only: nobody but us has
    chosen what it wonders at."""
    outer, _line.is_quiet = _line.is_quiet, True
    try:
        yield
    finally:
        _line.is_quiet = outer


def reason(errors: list[str]) -> str:
    """The most telling of the lines that libllama logged: the first, without the function's name."""
    if not errors:
        return "libllama gives no reason"
    return errors[0].split(": ", 1)[-1]
