"""The nginx site, run on the loopback: TLS, tokens one by one, limits, and what is not for everybody."""

from __future__ import annotations

import asyncio
import io
import itertools
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from process import FAKE, Server, get

from .conftest import DEPLOY

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None or shutil.which("openssl") is None, reason="nginx or openssl is not installed"
)

SITE = (DEPLOY / "nginx.conf").read_text()
STEP_S = 0.05


@dataclass
class Site:
    """nginx before a server of fakes."""

    plain: str
    tls: str
    backend: str


def ports(n: int) -> list[int]:
    """TCP ports of the loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(n)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    found = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return found


def configuration(folder: Path, backend: str, plain: int, tls: int) -> str:
    """A whole configuration around the site, with ports and files of this test."""
    site = re.sub(r"\n *listen \[::\].*", "", SITE)
    site = site.replace("listen 80;", f"listen 127.0.0.1:{plain};")
    site = site.replace("listen 443 ", f"listen 127.0.0.1:{tls} ")
    site = site.replace("server 127.0.0.1:8080;", f"server {backend.removeprefix('http://')};")
    site = site.replace("/etc/ssl/llm.example.com/", f"{folder}/")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log {folder}/access.log;\n{temporary}{site}\n}}\n"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=llm.example.com"),
            *("-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"),
        ],
        check=True,
        capture_output=True,
    )
    plain, tls = ports(2)
    with Server(FAKE, ["--port", "0", "--metrics", "-lv", "1"], {"FAKE_STEP_S": str(STEP_S)}) as server:
        backend = server.ready()
        (folder / "nginx.conf").write_text(configuration(folder, backend, plain, tls))
        command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "[warn]" not in checked.stderr
        nginx = subprocess.Popen(command)
        try:
            wait_for(plain)
            yield Site(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", backend)
        finally:
            nginx.terminate()
            nginx.wait(20)
            server.interrupt()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not listen")


@pytest.fixture
async def http(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(site.tls, connector=connector) as session:
        yield session


async def test_plain_http_is_sent_to_tls(site: Site) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{site.plain}/v1/models", allow_redirects=False) as answer,
    ):
        assert answer.status == 301
        assert answer.headers["Location"].startswith("https://")


async def test_tokens_arrive_one_by_one(http: aiohttp.ClientSession) -> None:
    body = {"prompt": "abc", "n_predict": 12, "stream": True}
    times = []
    async with http.post("/completion", json=body) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.startswith(b"data: "):
                times.append(time.monotonic())
    assert len(times) >= 12
    gaps = sorted(late - early for early, late in itertools.pairwise(times))
    assert gaps[len(gaps) // 2] > STEP_S / 2, "they came in one piece"


async def test_a_client_that_leaves_frees_its_slot(http: aiohttp.ClientSession, site: Site) -> None:
    async with http.post("/completion", json={"prompt": "abc", "n_predict": 5000, "stream": True}) as answer:
        await answer.content.readline()
    deadline = time.monotonic() + 5
    while any(slot["is_processing"] for slot in (await asyncio.to_thread(get, f"{site.backend}/slots"))[1]):
        assert time.monotonic() < deadline, "the request goes on without its client"
        await asyncio.sleep(0.02)


async def test_large_bodies_pass_as_far_as_the_server_reads_them(http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": "Bearer large"}
    async with http.post("/tokenize", data=io.BytesIO(b"x" * (8 << 20)), headers=headers) as answer:
        assert answer.status == 400, "the server itself says that this is no JSON"
    async with http.post("/tokenize", data=io.BytesIO(b"x" * ((64 << 20) + 1)), headers=headers) as answer:
        assert answer.status == 413


async def test_each_key_has_a_budget_of_its_own(http: aiohttp.ClientSession) -> None:
    async def statuses(key: str, n: int) -> Counter[int]:
        async def one() -> int:
            async with http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}) as answer:
                return answer.status

        return Counter(await asyncio.gather(*(one() for _ in range(n))))

    greedy = await statuses("greedy", 60)
    assert greedy[200] >= 16
    assert greedy[429] >= 20
    assert greedy.keys() == {200, 429}
    assert await statuses("modest", 5) == {200: 5}


async def test_health_has_no_limit(http: aiohttp.ClientSession) -> None:
    for _ in range(60):
        async with http.get("/health") as answer:
            assert answer.status == 200


def test_what_is_not_for_everybody() -> None:
    closed = re.search(r"location ~ (\S+) \{\s*allow 127.0.0.1;\s*allow ::1;\s*deny +all;", SITE)
    assert closed
    for path in ("/metrics", "/slots", "/slots/0", "/props", "/lora-adapters"):
        assert re.match(closed[1], path), path
    for path in ("/v1/models", "/completion", "/health", "/"):
        assert not re.match(closed[1], path), path


async def test_on_this_machine_metrics_are_shown(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        assert answer.status == 200
