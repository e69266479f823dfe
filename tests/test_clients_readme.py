"""The README's own lines: every curl line and every Python program in it is run as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process import REAL, Server

from llamahttp.config import DEMO_MODEL

from . import models

README = (Path(__file__).parent.parent / "README.md").read_text()
CURL = [
    " ".join(match[0].split("\\\n")).strip() for match in re.finditer(r"^    curl (?:.*\\\n)*.*$", README, re.MULTILINE)
]
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with all that a line may want, but for a ranking model."""
    slots = str(tmp_path_factory.mktemp("slots"))
    flags = ["--embeddings", "--pooling", "mean", "--slot-save-path", slots, "--metrics"]
    with Server(REAL, ["--port", "0", "-c", "4096", "-np", "2", "-lv", "1", *flags]) as server:
        yield server.ready()
        server.interrupt()


@pytest.fixture(scope="module")
def ranking_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = models.write_reranker(tmp_path_factory.mktemp("reranker") / "m.gguf")
    with Server(REAL, ["--port", "0", "-m", str(model), "--rerank", "-lv", "1"]) as server:
        yield server.ready()
        server.interrupt()


def test_there_are_lines_and_programs() -> None:
    assert len(CURL) >= 5
    assert len(PROGRAMS) >= 2
    assert all(ADDRESS in line for line in CURL)


@pytest.mark.parametrize("line", CURL)
def test_a_curl_line(request: pytest.FixtureRequest, line: str) -> None:
    url: str = request.getfixturevalue("ranking_url" if "rerank" in line else "url")
    if "restore" in line:
        run(url, next(other for other in CURL if "action=save" in other))
    if "action=save" in line:
        run(url, f'curl {ADDRESS}/completion -d \'{{"prompt": "Once", "n_predict": 4, "id_slot": 0}}\'')
    answer = run(url, line)
    if line.endswith("/metrics"):
        assert "# TYPE llamacpp:" in answer
    else:
        assert "error" not in json.loads(answer), answer


def run(url: str, line: str) -> str:
    """The answer that a shell gets."""
    command = line.replace(ADDRESS, url).replace("curl ", "curl -sS --fail-with-body ", 1)
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program(url: str, program: str) -> None:
    program = program.replace(ADDRESS, url).replace('"model.gguf"', repr(str(DEMO_MODEL)))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.strip()) > 0
