"""Downloads: what one server has fetched the other finds, and goes on with what it began."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fake_hub import FakeHub, oid, serving

from llamahttp import flags
from llamahttp.download import fetched
from llamahttp.transfer import SUFFIX

from .servers import reference_program, wait_until_ready

REPO = "ab/tiny-GGUF"


@pytest.fixture
def hub(llama_gguf: Path) -> FakeHub:
    data = llama_gguf.read_bytes()
    return FakeHub({REPO: {"README.md": b"tiny", "tiny-Q4_K_M.gguf": data, "tiny-Q8_0.gguf": data + bytes(32)}})


def run_reference(hub: FakeHub, home: Path, line: str, port: int) -> str:
    """llama-server with a command line, until it is ready; what it logged."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "HF_", "XDG_"))}
    environ = clean | {"HOME": str(home), "HF_ENDPOINT": hub.url}
    log = home / "log"
    with log.open("w") as output:
        command = [reference_program(), *line.split(), "--port", str(port), "-c", "256", "-t", "1", "--no-warmup"]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.kill()
        process.wait()
    return log.read_text()


def ours(hub: FakeHub, home: Path, line: str) -> Path:
    environ = {"HOME": str(home), "HF_ENDPOINT": hub.url}
    return fetched(flags.parse(line.split(), environ), environ).engine.model


def test_what_llama_server_fetched_is_found(hub: FakeHub, tmp_path: Path, unused_tcp_port: int) -> None:
    with serving(hub):
        run_reference(hub, tmp_path, f"-hf {REPO}", unused_tcp_port)
        n_asked = len(hub.downloads())
        online = ours(hub, tmp_path, f"-hf {REPO}")
        assert len(hub.downloads()) == n_asked == 1
    assert ours(hub, tmp_path, f"-hf {REPO} --offline") == online
    assert online.read_bytes() == hub.repos[REPO]["tiny-Q4_K_M.gguf"]


def test_llama_server_finds_what_we_fetched(hub: FakeHub, tmp_path: Path, unused_tcp_port: int) -> None:
    with serving(hub):
        ours(hub, tmp_path, f"-hf {REPO}:Q8_0")
        hub.requests.clear()
        run_reference(hub, tmp_path, f"-hf {REPO}:Q8_0 --offline", unused_tcp_port)
        assert hub.requests == []


def test_each_goes_on_with_what_the_other_began(hub: FakeHub, tmp_path: Path, unused_tcp_port: int) -> None:
    data = hub.repos[REPO]["tiny-Q4_K_M.gguf"]
    part = tmp_path / ".cache/huggingface/hub/models--ab--tiny-GGUF/blobs" / (oid(data) + SUFFIX)
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:1000])
    with serving(hub):
        run_reference(hub, tmp_path, f"-hf {REPO}", unused_tcp_port)
        assert hub.downloads()[0].endswith("bytes=1000-")
    assert ours(hub, tmp_path, f"-hf {REPO} --offline").read_bytes() == data


def test_a_url_that_llama_server_fetched_is_known(hub: FakeHub, tmp_path: Path, unused_tcp_port: int) -> None:
    """With `-m`, without which llama-server serves no model at all."""
    hub.repos["files"] = {"tiny.gguf": hub.repos[REPO]["tiny-Q8_0.gguf"]}
    with serving(hub):
        line = f"-mu {hub.url}/files/tiny.gguf -m {tmp_path}/tiny.gguf"
        run_reference(hub, tmp_path, line, unused_tcp_port)
        hub.requests.clear()
        assert ours(hub, tmp_path, line).read_bytes() == hub.repos["files"]["tiny.gguf"]
        assert [request.split()[0] for request in hub.requests] == ["HEAD"]
