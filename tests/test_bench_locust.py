"""The script for locust, run by locust against the real server with the demo model."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from process import REAL, Server

from bench.traffic import figures, read, table

SCRIPT = Path(__file__).parent.parent / "bench" / "locustfile.py"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="locust is not installed: make integration"
)


def locust(url: str, points: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", str(SCRIPT), "--headless", "-H", url, "--points", str(points)]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)


def test_locust_measures_what_the_server_does(tmp_path: Path) -> None:
    with Server(REAL, ["--port", "0", "-np", "4", "-c", "4096", "-lv", "1", "--api-key", "k"]) as server:
        url = server.ready()
        ran = locust(
            url, tmp_path / "locust.json", *["-u", "4", "-r", "4", "-t", "5s", "--n-predict", "16", "--api-key", "k"]
        )
        refused = locust(url, tmp_path / "refused.json", *["-u", "1", "-r", "1", "-t", "1s", "--api-key", "wrong"])
        server.interrupt()
    assert ran.returncode == 0, ran.stderr
    run = read(tmp_path / "locust.json")
    rows = figures(run)
    assert rows["answers"] > 10
    assert rows["failed"] == 0
    assert set(run.values("tokens")) <= set(range(8, 17)), "some of the tokens are no text by themselves"
    assert 0 < rows["first token p50 ms"] < rows["whole answer p50 ms"]
    assert "between tokens p95 ms" in table([run])
    for row in ("chat", "first token", "between tokens"):
        assert row in ran.stdout + ran.stderr
    assert refused.returncode == 1
    assert read(tmp_path / "refused.json").values("failed")[0] == 1
