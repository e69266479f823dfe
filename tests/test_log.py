"""Log: what goes to which stream, at which verbosity, in which shape."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamahttp import log
from llamahttp.config import LogConfig
from llamahttp.errors import StartupError
from llamahttp.log import OUTPUT, TRACE

LEVELS = (OUTPUT, logging.ERROR, logging.WARNING, logging.INFO, TRACE, logging.DEBUG)
"""In the order of verbosity."""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger("llamahttp")
    before = root.handlers, root.level, root.propagate
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level, root.propagate = before


def say_everything(config: LogConfig) -> None:
    log.setup(config)
    for verbosity, level in enumerate(LEVELS):
        logging.getLogger("llamahttp.test").log(level, "message %d", verbosity)


@pytest.mark.parametrize("verbosity", range(6))
def test_verbosity_is_a_threshold(verbosity: int, capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(LogConfig(verbosity=verbosity, prefix=False, timestamps=False))
    out, err = capsys.readouterr()
    assert out == "message 0\n", "the program's own output, whatever the verbosity"
    assert err == "".join(f"message {n}\n" for n in range(1, verbosity + 1))


def test_disabled_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(LogConfig(disable=True, verbosity=5))
    assert capsys.readouterr() == ("", "")


def test_prefix_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(LogConfig(verbosity=5))
    out, err = capsys.readouterr()
    assert out == "message 0\n"
    assert re.fullmatch(
        "".join(rf"\d\d:\d\d:\d\d\.\d\d\d {letter} message {n}\n" for n, letter in enumerate("EWITD", 1)), err
    )


def test_colors_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(LogConfig(timestamps=False))
    assert "\x1b" not in capsys.readouterr().err
    say_everything(LogConfig(timestamps=False, colors=True, verbosity=1))
    assert capsys.readouterr().err == "\x1b[31mE\x1b[0m message 1\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("term", "no_color", "colors", "expected"),
    [
        ("xterm", "", None, True),
        ("xterm", "1", None, False),
        ("dumb", "", None, False),
        ("dumb", "1", True, True),
        ("xterm", "", False, False),
    ],
)
def test_colors_on_a_terminal(
    term: str, no_color: str, colors: bool | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert log.use_colors(LogConfig(colors=colors), Terminal()) is expected


def test_the_file_gets_everything_and_no_colors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "llama.log"
    say_everything(LogConfig(file=path, colors=True, prefix=False, timestamps=False))
    assert path.read_text() == "".join(f"message {n}\n" for n in range(4))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=f"--log-file: cannot write {tmp_path}: Is a directory"):
        log.setup(LogConfig(file=tmp_path))


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(LogConfig(jsonl=True, colors=True))
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["type"], line["level"], line["msg"]) for line in lines] == [
        ("log", level, f"message {n}") for n, level in enumerate(["output", "error", "warning", "info"])
    ]
    assert all(isinstance(line["time"], int) for line in lines)
    assert err == ""


# --- the writer


class Stuck(logging.Handler):
    """A terminal that is paused until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.go.wait(10)
        self.messages.append(record.getMessage())


def test_a_terminal_that_is_paused_holds_up_nobody_and_loses_nothing_that_fits() -> None:
    terminal = Stuck()
    logging.getLogger("llamahttp").handlers = [terminal]
    with log.in_background():
        for i in range(100):
            logging.getLogger("llamahttp.test").warning("message %d", i)
        terminal.go.set()
    assert terminal.messages == [f"message {i}" for i in range(100)]


def test_what_is_lost_is_counted() -> None:
    terminal = Stuck()
    logging.getLogger("llamahttp").handlers = [terminal]
    with log.in_background():
        for i in range(log.MAX_WAITING + 50):
            logging.getLogger("llamahttp.test").warning("message %d", i)
        terminal.go.set()
        while len(terminal.messages) < log.MAX_WAITING:
            time.sleep(0.01)
    lost = [int(message.split()[0]) for message in terminal.messages if "are lost" in message]
    assert sum(lost) + len(terminal.messages) - len(lost) == log.MAX_WAITING + 50


def test_a_terminal_that_stays_paused_does_not_hold_up_the_end() -> None:
    terminal = Stuck()
    logging.getLogger("llamahttp").handlers = [terminal]
    began = time.monotonic()
    with log.in_background():
        logging.getLogger("llamahttp.test").warning("message")
    assert time.monotonic() - began < 5
    terminal.go.set()
