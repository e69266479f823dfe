"""A server in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
FAKE = [sys.executable, "-X", "faulthandler", str(TESTS / "fake_server.py")]
REAL = [sys.executable, "-X", "faulthandler", "-m", "llamahttp"]
DEADLINE_S = 120
"""A process that is silent for longer is aborted, and what its threads were doing is shown."""


class Server:
    """A started command and what it printed. Use it in a `with` block, which kills what is left."""

    def __init__(self, command: Sequence[str], flags: Sequence[str], environ: Mapping[str, str] = {}) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
        # Not a pipe, which would have to be read all the time; closed by __exit__.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [*command, *flags],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=clean | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(TESTS.parent)} | dict(environ),
        )
        self.output: list[str] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read the terminal up to the line in which `pattern` is found."""
        assert self._process.stdout is not None
        deadline = threading.Timer(DEADLINE_S, self._process.send_signal, [signal.SIGABRT])
        deadline.start()
        try:
            for line in self._process.stdout:
                self.output.append(line)
                if match := re.search(pattern, line):
                    return match
        finally:
            deadline.cancel()
        raise AssertionError(f"{pattern!r} did not come: {self.end()}")

    def listening(self) -> str:
        """The URL, as soon as it is announced."""
        return self.read_until(r" on (https?://[^\s,]+)")[1]

    def ready(self) -> str:
        """The URL, once the model is loaded."""
        url = self.listening()
        self.read_until("ready in")
        return url

    def interrupt(self, number: int = signal.SIGINT) -> float:
        """Send a signal and wait; returns the seconds until the process had ended."""
        began = time.monotonic()
        self._process.send_signal(number)
        self._process.wait(20)
        return time.monotonic() - began

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end: exit status, all of stdout, stderr."""
        assert self._process.stdout is not None
        self.output.append(self._process.stdout.read())
        status = self._process.wait(60)
        self._errors.seek(0)
        return status, "".join(self.output), self._errors.read()


def get(url: str) -> tuple[int, Any]:
    """Status and JSON body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
