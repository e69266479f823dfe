"""Downloads from the command line: what the terminal shows, and how the command ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, serving
from process import REAL, Server, get

from llamahttp.config import DEMO_MODEL

ROOT = Path(__file__).parent.parent
REPO = "ab/demo-GGUF"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving(FakeHub({REPO: {"demo-Q8_0.gguf": DEMO_MODEL.read_bytes()}})) as served:
        yield served


def environ(hub: FakeHub, home: Path) -> dict[str, str]:
    return {"HOME": str(home), "HF_ENDPOINT": hub.url}


def run(hub: FakeHub, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "HF_", "XDG_"))}
    variables = clean | environ(hub, home) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*REAL, *words], env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_a_repository_is_fetched_and_served(hub: FakeHub, tmp_path: Path) -> None:
    with Server(REAL, ["-hf", REPO, "--port", "0"], environ(hub, tmp_path)) as server:
        server.read_until(r"^downloading demo-Q8_0\.gguf, [\d.]+ MiB$")
        url = server.ready()
        status, models = get(f"{url}/v1/models")
        assert (status, models["data"][0]["id"]) == (200, REPO)
    listed = run(hub, tmp_path, "--cache-list")
    assert (listed.returncode, listed.stdout) == (0, f"number of models in cache: 1\n   1. {REPO}:Q8_0\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-hf", f"{REPO}:Q2_K"), f"error: {REPO} has no Q2_K; there is Q8_0\n"),
        (("-hf", REPO, "--offline"), f"error: {REPO} is not in the cache "),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: FakeHub, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = run(hub, tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_terminal_sees_how_far_it_is_and_ctrl_c_ends_it_quietly(hub: FakeHub, tmp_path: Path) -> None:
    hub.stalls_after = 1_000_000
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "HF_", "XDG_"))}
    variables = clean | environ(hub, tmp_path) | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen([*REAL, "-hf", REPO], env=variables, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        shown = b""
        until = time.monotonic() + 60
        while b"976.6 KiB of" not in shown and time.monotonic() < until:
            shown += os.read(ours, 1000)
        assert b"downloading [" in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        hub.go_on.set()
    assert b"Traceback" not in shown
    hub.stalls_after = None
    assert [path.stat().st_size for path in tmp_path.rglob("*.downloadInProgress")] == [1_000_000]


def test_devices_are_listed_and_the_command_ends(hub: FakeHub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--list-devices")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Available devices:\n  ")


def test_a_flag_without_an_effect_is_said_once(hub: FakeHub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--threads-http", "4", "-m", str(tmp_path / "no.gguf"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    with Server(REAL, ["--threads-http", "4", "--port", "0"]) as server:
        server.ready()
        server.interrupt()
        _, _, errors = server.end()
    assert errors.startswith("note: --threads-http has no effect: one event loop serves all connections\n")
