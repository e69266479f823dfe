"""A program that starts, polls and stops the server: the example, over both servers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from llamahttp.binding.manifest import BUILT

EXAMPLE = Path(__file__).parent.parent / "examples" / "managed_server.py"
OURS = [sys.executable, "-m", "llamahttp"]
REFERENCE = BUILT / "llama-server"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("managed_server", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["managed_server"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("is_ours", [True, False], ids=["llamahttp", "llama-server"])
def test_a_program_starts_polls_and_stops_the_server(example: ModuleType, llama_gguf: Path, is_ours: bool) -> None:
    if not is_ours and not REFERENCE.exists():
        pytest.skip("llama-server is not built: make reference")
    flags = ["-m", str(llama_gguf), "-c", "1024", "-np", "2", "-ngl", "0", "-t", "1", "--no-warmup", "--jinja"]
    with example.ManagedServer(OURS if is_ours else [str(REFERENCE)], *flags) as server:
        assert server.is_healthy()
        answer = server.post("/completion", {"prompt": "once", "n_predict": 4, "ignore_eos": True})
        assert answer["tokens_predicted"] == 4
        began = time.monotonic()
        status = server.stop()
        assert time.monotonic() - began < 10
        assert not server.is_healthy()
        assert server.stop() == status
    if is_ours:
        assert status == 0


def test_a_server_that_does_not_start_shows_its_last_words(example: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"nowhere\.gguf"):
        example.ManagedServer(OURS, "-m", "nowhere.gguf").start()


def test_a_server_that_is_not_there_is_named() -> None:
    ran = subprocess.run([sys.executable, EXAMPLE, "no-such-server"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (1, "no-such-server cannot be run: No such file or directory\n")


def test_the_example_runs(tmp_path: Path) -> None:
    command = tmp_path / "llamahttp"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m llamahttp "$@"\n')
    command.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, EXAMPLE, command, "--temp", "0"], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Paris" in ran.stdout
