"""A server that a program of one's own starts, polls and stops, as desktop tools and ComfyUI nodes do.

    python examples/managed_server.py llamahttp
    python examples/managed_server.py path/to/llama-server -m model.gguf

Nothing in it knows which of the two servers it runs. Needs the standard library only.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Any

START_S = 120.0
STOP_S = 15.0


class ManagedServer:
    """A server in a process of its own on a free port of this machine, for as long as a `with` block lasts."""

    def __init__(self, command: Sequence[str], *flags: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [*command, "--host", "127.0.0.1", "--port", str(self.port), *flags]
        self._process: subprocess.Popen[bytes] | None = None
        # a file: a pipe that nobody reads would stop the server once it is full
        self._log = tempfile.TemporaryFile()  # noqa: SIM115

    def start(self) -> None:
        """Return once it answers. Raises RuntimeError with the end of its log if it does not."""
        try:
            self._process = subprocess.Popen(self._command, stdout=self._log, stderr=subprocess.STDOUT)
        except OSError as error:
            self._log.close()
            raise RuntimeError(f"{self._command[0]} cannot be run: {error.strerror}") from None
        deadline = time.monotonic() + START_S
        while not self.is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                last_words = self.log_tail()
                self._log.close()
                raise RuntimeError(f"{self._command[0]} did not start:\n{last_words}")
            time.sleep(0.1)

    def is_healthy(self) -> bool:
        """Whether it is there and has loaded its model: while it loads, it answers with 503."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def post(self, path: str, body: object) -> Any:
        """The JSON answer to a JSON request."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def stop(self) -> int | None:
        """Ask it to end, make it end if it does not; its exit status. Safe twice."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def log_tail(self, n_bytes: int = 2000) -> str:
        """The end of what it printed."""
        self._log.seek(0, 2)
        self._log.seek(max(0, self._log.tell() - n_bytes))
        return self._log.read().decode(errors="replace")

    def __enter__(self) -> ManagedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def main(argv: Sequence[str]) -> int:
    try:
        with ManagedServer(argv[:1] or ["llamahttp"], *argv[1:]) as server:
            body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 40}
            print(server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"])
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
