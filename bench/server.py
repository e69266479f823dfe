"""Servers under test: started here and ended here, or found running at a URL.

A started server leads a session of its own, so that Ctrl-C in a terminal reaches only the benchmark, which
then ends the processes of that session by id.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.address import Address, free_port
from bench.errors import BenchError
from bench.machine import session_cpu_s, session_rss_bytes

POLL_S = 0.01  # between questions to a server that is starting
GRACE_S = 5.0  # between SIGTERM and SIGKILL
N_LOG_LINES = 20
DEFAULT_N_VOCAB = 32_000


@dataclass(slots=True)
class Process:
    """A server process that we started, and its log file."""

    popen: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def check_alive(self) -> None:
        """BenchError with the end of the log when the process has ended."""
        code = self.popen.poll()
        if code is not None:
            raise BenchError(f"the server ended with {exit_text(code)}; the end of its log:\n{self.log_tail()}")

    def log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-N_LOG_LINES:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing logged)"


@dataclass(slots=True)
class Server:
    """A server under test. `name` is its letter in the report, `process` None when it was found running."""

    name: str
    label: str
    address: Address
    process: Process | None = None
    start_s: float | None = None  # from starting the process to the first 200 of /health
    n_vocab: int = DEFAULT_N_VOCAB
    n_slots: int | None = None

    def check_alive(self) -> None:
        if self.process is not None:
            self.process.check_alive()

    def cpu_s(self) -> float | None:
        """Processor seconds used so far by the server's processes; None when unknown."""
        return None if self.process is None else session_cpu_s(self.process.pid)

    def rss_bytes(self) -> int | None:
        """Resident memory of the server's processes now; None when unknown."""
        return None if self.process is None else session_rss_bytes(self.process.pid)

    def wait_healthy(self, timeout_s: float) -> None:
        """Ask /health until it answers 200. BenchError when the server dies or `timeout_s` has passed."""
        deadline = time.monotonic() + timeout_s
        while get(self.address, "/health", timeout_s=2.0)[0] != 200:
            self.check_alive()
            if time.monotonic() > deadline:
                tail = f"; the end of its log:\n{self.process.log_tail()}" if self.process else ""
                raise BenchError(f"{self.label} at {self.address} is not healthy after {timeout_s:g} s{tail}")
            time.sleep(POLL_S)

    def inspect(self, api_key: str | None, n_vocab: int | None) -> None:
        """Learn the vocabulary size (unless given) and the number of slots, as far as the server tells."""
        models = get_json(self.address, "/v1/models", api_key)
        data = models.get("data") or [{}]
        self.n_vocab = n_vocab or (data[0].get("meta") or {}).get("n_vocab") or DEFAULT_N_VOCAB
        self.n_slots = get_json(self.address, "/props", api_key).get("total_slots")


def get(address: Address, path: str, timeout_s: float, api_key: str | None = None) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 when there is no answer."""
    connection = http.client.HTTPConnection(*address.pair, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {api_key}"} if api_key else {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def get_json(address: Address, path: str, api_key: str | None) -> dict[str, Any]:
    """The JSON object at `path`, empty when the server has none: peers differ in what they offer."""
    status, body = get(address, path, timeout_s=10.0, api_key=api_key)
    try:
        answer = json.loads(body) if status == 200 else {}
    except ValueError:
        answer = {}
    return answer if isinstance(answer, dict) else {}


@contextmanager
def started(name: str, command: str, model: str | None, log_dir: Path, timeout_s: float) -> Iterator[Server]:
    """Start `command` on a free loopback port, wait until it is healthy, and end it on leaving.

    `-m MODEL`, `--host` and `--port` are appended. BenchError when it cannot be started or dies.
    """
    address = Address("127.0.0.1", free_port())
    argv = [*split_command(command), *(["-m", model] if model else [])]
    argv += ["--host", address.host, "--port", str(address.port)]
    log_path = log_dir / f"{name}.log"
    started_at = time.perf_counter()
    try:
        with log_path.open("wb") as log:
            popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise BenchError(f"cannot start {argv[0]}: {error.strerror}") from None
    process = Process(popen, log_path)
    try:
        server = Server(name, command, address, process)
        server.wait_healthy(timeout_s)
        server.start_s = time.perf_counter() - started_at
        yield server
    finally:
        end(process)


def split_command(command: str) -> list[str]:
    """BenchError for an empty command or open quotes."""
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise BenchError(f"cannot read the command {command!r}: {error}") from None
    if not argv:
        raise BenchError("the command of a server is empty")
    return argv


def end(process: Process, grace_s: float = GRACE_S) -> None:
    """SIGTERM, then SIGKILL after `grace_s`. A second Ctrl-C is not heard meanwhile: the wait is short."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(grace_s)
        # The leader may leave children behind, so the group is told even when the leader has gone.
        signal_group(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nothing more can be done from here
            process.popen.wait(GRACE_S)
    finally:
        signal.signal(signal.SIGINT, before)


def signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
