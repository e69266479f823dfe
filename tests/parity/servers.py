"""llama-server beside our own server: the same model, the same flags, the same requests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from process import REAL, Server

from llamahttp.binding import manifest

N_SLOTS = 4
N_CTX_SLOT = 1024
BARE = ("-t", "1", "--no-warmup", "--host", "127.0.0.1")
FLAGS = [
    *("-c", str(N_SLOTS * N_CTX_SLOT), "-np", str(N_SLOTS), "-b", "512", "-ub", "128", "--swa-full"),
    *BARE,
]
"""One thread, a cache for each slot, and the whole context in it also for layers with a sliding window: then the same
requests are computed in the same order, bit for bit, whatever was computed before."""

STARTUP_SECONDS = 60


@dataclass(frozen=True)
class Pair:
    """The URLs of both servers with one model."""

    model: str
    ours: str
    reference: str

    def both(self, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The answers of ours and of the reference to one request."""
        return complete(self.ours, **body), complete(self.reference, **body)


def complete(url: str, **body: Any) -> dict[str, Any]:
    """The answer of POST /completion with its tokens, computed from the first token of the prompt on."""
    defaults = {"return_tokens": True, "cache_prompt": False, "n_predict": 64}
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(defaults | body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def reference_program() -> Path:
    """llama-server beside libllama. Skips the test where it is not built."""
    program = manifest.directory() / "llama-server"
    if not program.exists():
        pytest.skip(f"{program} is not built: make reference")
    return program


@contextmanager
def reference(model: Path, log: Path, flags: Sequence[str] = (), base: Sequence[str] = FLAGS) -> Iterator[str]:
    """llama-server with a model; gives its URL when it is ready. `flags` are further ones than `base`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [reference_program(), "-m", model, "--port", str(port), *base, *flags]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        yield url
    finally:
        process.kill()
        process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:  # refused, or 503 while loading
            time.sleep(0.02)
    raise AssertionError(f"llama-server is not ready after {STARTUP_SECONDS} s: {log.read_text()[-2000:]}")


@contextmanager
def pair(model: Path, log: Path, flags: Sequence[str] = (), base: Sequence[str] = FLAGS) -> Iterator[Pair]:
    """Both servers with a model; `flags` are further ones than `base`."""
    ours = Server(REAL, ["-m", str(model), "--port", "0", *base, *flags])
    with reference(model, log, flags, base) as url, ours as server:
        yield Pair(model.stem, server.ready(), url)
        server.interrupt()
