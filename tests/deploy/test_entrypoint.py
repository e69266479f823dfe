"""The container's entry script: both images' variables, over a command that shows what it got and over the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from process import Server, get

from llamahttp import flags

from .conftest import DEPLOY

SCRIPT = DEPLOY / "entrypoint.py"

SHOW = """#!{python}
import json, os, sys
print(json.dumps({{"argv": sys.argv[1:], "pid": os.getpid(), "token": os.environ.get("HF_TOKEN")}}))
"""


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder for PATH in which `llamahttp` is a command that shows what it got."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "llamahttp"
    command.write_text(SHOW.format(python=sys.executable))
    command.chmod(0o755)
    return folder


def start(bin_folder: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "TMPDIR": str(bin_folder)} | variables
    return subprocess.run([SCRIPT, *argv], env=environ, capture_output=True, text=True, timeout=30, check=False)


def shown(bin_folder: Path, *argv: str, **variables: str) -> Any:
    result = start(bin_folder, *argv, **variables)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_every_variable_of_both_images(bin_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "a model.gguf"
    model.touch()
    got = shown(
        bin_folder,
        MODEL=str(model),
        HF_TOKEN="secret",
        CTX_SIZE="4096",
        MAX_TOKENS="-1",
        PORT="9000",
        PARALLEL="4",
        BATCH_SIZE="1024",
        UBATCH_SIZE="256",
        LLAMA_ARGS="--metrics --alias 'my model'",
    )
    assert got["argv"] == [
        *("--model", str(model), "--ctx-size", "4096", "--n-predict", "-1", "--port", "9000", "--parallel", "4"),
        *("--batch-size", "1024", "--ubatch-size", "256", "--metrics", "--alias", "my model"),
    ]
    assert got["token"] == "secret"


def test_the_flags_are_flags_of_llamahttp(entrypoint: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    variables = dict.fromkeys(entrypoint.NUMBERS, "8") | {"LLAMA_MODEL": "m.gguf", "LLAMA_ARGS": "--metrics"}
    config = flags.parse(entrypoint.arguments(variables, ["--port", "9"], tmp_path), {})
    assert (config.engine.model, config.engine.n_ctx, config.port) == (tmp_path / "m.gguf", 8, 9)
    assert config.metrics


def test_nothing_set_is_nothing_said(bin_folder: Path) -> None:
    assert shown(bin_folder)["argv"] == []
    assert shown(bin_folder, MODEL="", CTX_SIZE=" ", LLAMA_ARGS="")["argv"] == []


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("here.gguf", ["--model", "{models}/here.gguf"]),
        ("{models}/here.gguf", ["--model", "{models}/here.gguf"]),
        ("ggml-org/gemma-3-1b-it-GGUF", ["--hf-repo", "ggml-org/gemma-3-1b-it-GGUF"]),
        ("ggml-org/gemma-3-1b-it-GGUF:Q4_K_M", ["--hf-repo", "ggml-org/gemma-3-1b-it-GGUF:Q4_K_M"]),
        ("https://example.com/m.gguf", ["--model-url", "https://example.com/m.gguf"]),
    ],
)
@pytest.mark.parametrize("name", ["MODEL", "LLAMA_MODEL"])
def test_what_a_model_may_be(
    entrypoint: ModuleType, tmp_path: Path, name: str, model: str, expected: list[str]
) -> None:
    (tmp_path / "here.gguf").touch()
    flags = entrypoint.arguments({name: model.format(models=tmp_path)}, [], tmp_path)
    assert flags == [flag.format(models=tmp_path) for flag in expected]


def test_arguments_win(entrypoint: ModuleType) -> None:
    flags = entrypoint.arguments({"PORT": "1", "LLAMA_ARGS": "--port 2"}, ["--port", "3"])
    assert flags == ["--port", "1", "--port", "2", "--port", "3"]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"CTX_SIZE": "4k"}, "CTX_SIZE must be a whole number, but is '4k'"),
        ({"PORT": "80 --api-key x"}, "PORT must be a whole number"),
        ({"MODEL": "nowhere.gguf"}, "MODEL=nowhere.gguf: there is no such file"),
        ({"MODEL": "folder/nowhere.gguf"}, "there is no such file"),
        ({"MODEL": "a/b", "LLAMA_MODEL": "c/d"}, "two models: a/b and c/d"),
        ({"LLAMA_ARGS": "--alias 'open"}, "LLAMA_ARGS=--alias 'open: No closing quotation"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_one_line(
    bin_folder: Path, variables: dict[str, str], complaint: str
) -> None:
    result = start(bin_folder, **variables)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert complaint in result.stderr


def test_no_shell_reads_the_variables(bin_folder: Path) -> None:
    assert shown(bin_folder, LLAMA_ARGS="--alias '$(id)' ; `id`")["argv"] == ["--alias", "$(id)", ";", "`id`"]


def test_another_command_runs_in_its_place(bin_folder: Path) -> None:
    result = start(bin_folder, "sh", "-c", "echo $PORT", PORT="5")
    assert (result.returncode, result.stdout) == (0, "5\n")


@pytest.mark.parametrize(
    ("argv", "environ", "url"),
    [
        ([], {}, "http://127.0.0.1:8080/health"),
        (["--port", "1", "--port=2"], {"LLAMA_ARG_PORT": "3"}, "http://127.0.0.1:2/health"),
        ([], {"LLAMA_ARG_PORT": "3", "LLAMA_ARG_HOST": "0.0.0.0"}, "http://127.0.0.1:3/health"),
        (["--host", "::,/run/x.sock"], {}, "http://[::1]:8080/health"),
        (["--host", "/run/x.sock, 10.0.0.1"], {}, "http://10.0.0.1:8080/health"),
        (["--ssl-key-file", "k", "--api-prefix", "/llm"], {}, "https://127.0.0.1:8080/llm/health"),
    ],
)
def test_health_asks_where_the_server_listens(
    entrypoint: ModuleType, tmp_path: Path, argv: list[str], environ: dict[str, str], url: str
) -> None:
    entrypoint.note(argv, environ, tmp_path / "note")
    assert json.loads((tmp_path / "note").read_text()) == url


def test_health_before_the_server_is_there(bin_folder: Path) -> None:
    result = start(bin_folder, "health")
    assert result.returncode == 1
    assert "not healthy" in result.stderr


# --- the real one


@pytest.mark.parametrize("command", [["real"], ["fake"]])
def test_the_server_takes_the_place_of_the_script(tmp_path: Path, free_port: int, command: list[str]) -> None:
    """Signals reach it, it drains, and the exit code tells; health goes with it."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program = "-m llamahttp" if command == ["real"] else str(Path(__file__).parents[1] / "fake_server.py")
    (bin_folder / "llamahttp").write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    (bin_folder / "llamahttp").chmod(0o755)
    environ = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    settings = {"PORT": str(free_port), "CTX_SIZE": "2048", "PARALLEL": "2"}
    with Server([str(SCRIPT)], ["-lv", "1"], environ | settings) as server:
        url = server.ready()
        assert url.endswith(f":{free_port}")
        health = subprocess.run([SCRIPT, "health"], env=environ, timeout=30, check=False)
        assert health.returncode == 0
        assert get(f"{url}/health") == (200, {"status": "ok"})
        request = json.dumps({"prompt": "once", "n_predict": 1500, "stream": True, "ignore_eos": True})
        client = subprocess.Popen(
            ["curl", "-sN", f"{url}/completion", "-d", request], stdout=subprocess.PIPE, text=True
        )
        with client:
            assert client.stdout is not None
            assert client.stdout.readline().startswith("data: ")
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            rest = client.stdout.read()
            status, _, errors = server.end()
        assert time.monotonic() - began < 10
        assert (status, errors) == (0, "")
        assert rest.endswith("\n\n"), "what had begun was cut off without a word"
    health = subprocess.run([SCRIPT, "health"], env=environ, timeout=30, check=False, stderr=subprocess.DEVNULL)
    assert health.returncode == 1


def test_a_server_that_cannot_start_says_so_with_its_exit_code(bin_folder: Path) -> None:
    (bin_folder / "llamahttp").write_text(f'#!/bin/sh\nexec {sys.executable} -m llamahttp "$@"\n')
    result = start(bin_folder, "--no-such-flag", PYTHONPATH=str(DEPLOY.parent))
    assert result.returncode == 2
