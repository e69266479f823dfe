"""The supervisor program: its keys, and where supervisor is installed, started and stopped by it."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process import get

from .conftest import DEPLOY

TEXT = (DEPLOY / "supervisor.conf").read_text()
ROOT = DEPLOY.parent


def test_it_stops_as_the_server_wants_to_be_stopped() -> None:
    config = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    config.read_string(TEXT)
    program = dict(config["program:llamahttp"])
    assert program["stopsignal"] == "TERM"
    assert 10 < int(program["stopwaitsecs"]) <= 30, "longer than the server takes to drain"
    assert (program["autorestart"], program["exitcodes"]) == ("unexpected", "0,2")


PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.skipif(shutil.which("supervisord", path=PATH) is None, reason="supervisor is not installed")
def test_supervisor_starts_and_stops_it(tmp_path: Path, free_port: int) -> None:
    program = TEXT.replace("/opt/llamahttp/bin/llamahttp", f"{sys.executable} -m llamahttp -c 1024 -np 1 -lv 1")
    program = program.replace("/var/log/llamahttp.log", f"{tmp_path}/log").replace("user=llamahttp\n", "")
    program = program.replace("directory=/var/lib/llamahttp", f"directory={ROOT}")
    program = program.replace('LLAMA_ARG_MODEL="/models/model.gguf",', "").replace('"8080"', f'"{free_port}"')
    sock = f"unix://{tmp_path}/s"
    conf = tmp_path / "supervisord.conf"
    conf.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={tmp_path}/main.log\npidfile={tmp_path}/pid\nchildlogdir={tmp_path}\n"
        f"[unix_http_server]\nfile={tmp_path}/s\n[supervisorctl]\nserverurl={sock}\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n" + program
    )
    environ = os.environ | {"PATH": PATH}
    daemon = subprocess.Popen(
        ["supervisord", "-c", conf], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_healthy(f"http://127.0.0.1:{free_port}/health", tmp_path / "log")
        began = time.monotonic()
        stopped = control(conf, "stop", "llamahttp")
        assert "llamahttp: stopped" in stopped
        assert time.monotonic() - began < 10
        assert "STOPPED" in control(conf, "status", "llamahttp")
    finally:
        daemon.terminate()
        daemon.wait(30)


def control(conf: Path, *words: str) -> str:
    result = subprocess.run(
        ["supervisorctl", "-c", conf, *words],
        env=os.environ | {"PATH": PATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.stdout + result.stderr


def wait_until_healthy(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if get(url)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"it did not start: {log.read_text() if log.exists() else ''}")
