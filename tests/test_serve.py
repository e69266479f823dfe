"""Serve: the life of the server as a process. The engine is a fake, except where the command itself is under test."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from process import FAKE, REAL, Server, get

from llamahttp.config import DEMO_MODEL

ANY_PORT = ("--port", "0")


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


# --- starting


def test_the_start_tells_what_is_served_and_where() -> None:
    with Server(FAKE, [*ANY_PORT, "--api-key", "k"]) as server:
        url = server.ready()
        server.interrupt()
        status, out, _ = server.end()
    assert status == 0
    for words in (
        "fake 1K F32",
        "4, sharing 4096 tokens of context",
        "threads",
        "API key   needed",
        f"curl {url}/v1/chat",
    ):
        assert words in out, words
    assert "toy" in out, "the demo model says that it is one"
    assert "\x1b" not in out, "no escape sequences where there is no terminal"


def test_http_answers_while_the_model_loads() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_LOAD_S": "1"}) as server:
        url = server.listening()
        status, body = get(f"{url}/health")
        assert (status, body["error"]["message"]) == (503, "Loading model")
        server.read_until("ready in")
        assert get(f"{url}/health") == (200, {"status": "ok"})


def test_the_announced_port_is_the_one_that_the_kernel_chose() -> None:
    with Server(FAKE, [*ANY_PORT]) as first, Server(FAKE, [*ANY_PORT]) as second:
        urls = {first.ready(), second.ready()}
        assert len(urls) == 2
        assert all(get(f"{url}/health")[0] == 200 for url in urls)


def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "llama.sock"
    with Server(FAKE, ["--host", str(path)]) as server:
        server.read_until("ready in")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.0 200 OK")
        server.interrupt()
        assert server.end()[0] == 0
    assert not path.exists()


def test_the_version_is_ours_and_that_of_the_library_where_one_is_built(tmp_path: Path) -> None:
    with Server(REAL, ["--version"]) as server:
        status, out, err = server.end()
    ours, theirs = out.splitlines()
    assert (status, err) == (0, "")
    assert re.fullmatch(r"llamahttp \d\S+ \(Python 3\.\S+\)", ours)
    assert re.fullmatch(r"llama\.cpp \S+ \([0-9a-f]{8}\)", theirs)
    with Server(REAL, ["--version"], {"LLAMAHTTP_LIB": str(tmp_path)}) as server:
        assert server.end() == (0, ours + "\n", "")


@pytest.mark.parametrize("flag", ["--help", "--completion-bash", "--version"])
def test_a_reader_that_has_read_enough_is_no_fault(flag: str) -> None:
    with subprocess.Popen([*REAL, flag], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# --- not starting: one line on stderr, no traceback


def test_a_port_in_use_is_one_line_before_anything_is_loaded(busy_port: int) -> None:
    with Server(FAKE, ["--port", str(busy_port)], {"FAKE_LOAD_S": "30"}) as server:
        status, out, err = server.end()
    assert (status, out) == (1, "")
    assert "the port is in use" in err


@pytest.mark.parametrize(
    ("flags", "expected_status", "message"),
    [
        (["--prot", "80"], 2, "error: unknown flag --prot; did you mean --port?\n"),
        (["--port", "70000"], 2, "error: --port: 70000 is not within 0..65535\n"),
        (["-m", "no.gguf"], 1, "error: -m: there is no model file no.gguf\n"),
        (["-m", "."], 1, "error: -m: . is a directory, not a GGUF file\n"),
        (
            ["--host", "no.such.host.invalid"],
            1,
            "error: cannot listen on no.such.host.invalid: there is no such address\n",
        ),
        (
            ["--log-file", "/no/such/dir/x"],
            1,
            "error: --log-file: cannot write /no/such/dir/x: No such file or directory\n",
        ),
    ],
)
def test_a_wrong_command_is_one_line(flags: list[str], expected_status: int, message: str, tmp_path: Path) -> None:
    with Server(REAL, flags) as server:
        status, out, err = server.end()
    assert (status, out, err) == (expected_status, "", message)


def test_a_port_in_use_is_one_line_of_the_command_too(busy_port: int) -> None:
    with Server(REAL, ["--port", str(busy_port)]) as server:
        status, out, err = server.end()
    assert (status, out) == (1, "")
    assert err == (
        f"error: cannot listen on 127.0.0.1:{busy_port}: the port is in use; "
        "choose another with --port, or --port 0 for any\n"
    )


@pytest.mark.parametrize("n_bytes", [4, 500, 4_000_000])
def test_a_model_cut_short_is_one_line(n_bytes: int, tmp_path: Path) -> None:
    corrupt = tmp_path / "corrupt.gguf"
    corrupt.write_bytes(DEMO_MODEL.read_bytes()[:n_bytes])
    with Server(REAL, [*ANY_PORT, "-m", str(corrupt)]) as server:
        status, _, err = server.end()
    assert status == 1
    assert err.startswith("error: ") and err.count("\n") == 1 and str(corrupt) in err


def test_a_load_that_fails_ends_the_server() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_ERROR": "the model does not fit"}) as server:
        status, _, err = server.end()
    assert status == 1
    assert "the model does not fit" in err


def test_a_broken_template_ends_the_server() -> None:
    with Server(FAKE, [*ANY_PORT, "--chat-template", "{% for %}"]) as server:
        status, _, err = server.end()
    assert status == 1
    assert "--chat-template: " in err


# --- serving


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["TLS", "header", "long line"],
)
def test_a_malformed_request_is_answered_and_leaves_no_traceback(data: bytes) -> None:
    with Server(FAKE, [*ANY_PORT]) as server:
        url = server.ready()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as client:
            client.sendall(data)
            assert client.recv(1000).startswith(b"HTTP/1.0 400")
        assert get(f"{url}/health")[0] == 200
        server.interrupt()
        status, _, err = server.end()
    assert status == 0
    assert "Traceback" not in err


def test_a_client_that_leaves_in_mid_stream_leaves_no_traceback() -> None:
    body = json.dumps({"prompt": "a", "stream": True, "n_predict": 50}).encode()
    request = b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with Server(FAKE, [*ANY_PORT], {"FAKE_STEP_S": "0"}) as server:
        url = server.ready()
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as client:
                client.sendall(request)
                client.recv(100)
        server.interrupt()
        status, _, err = server.end()
    assert status == 0
    assert "Traceback" not in err


# --- stopping


@pytest.mark.parametrize(("number", "most_s"), [(signal.SIGINT, 2), (signal.SIGTERM, 9)])
async def test_a_signal_stops_in_time_and_every_request_ends(number: int, most_s: float) -> None:
    with Server(FAKE, [*ANY_PORT]) as server:
        url = server.ready()
        async with aiohttp.ClientSession() as session:
            streams = [await open_stream(session, url) for _ in range(4)]
            queued = asyncio.create_task(open_stream(session, url))
            async with session.get(f"{url}/health"):
                took = await asyncio.to_thread(server.interrupt, number)
            ends = [(await stream.read()).decode() for stream in streams]
            assert (await queued).status == 503
        status, _, err = server.end()
    assert took < most_s
    assert status == 0
    assert "Traceback" not in err
    for end in ends:
        last = end.strip().rsplit("\n\n", 1)[-1]
        assert "stopping" in json.loads(last.partition(": ")[2])["error"]["message"], "an orderly end, not a cut"


async def test_sigterm_lets_requests_come_to_their_end_and_takes_no_new_ones() -> None:
    with Server(FAKE, [*ANY_PORT]) as server:
        url = server.ready()
        async with aiohttp.ClientSession() as session:
            body = {"prompt": "a", "n_predict": 100}
            streams = [await session.post(f"{url}/completion", json=body | {"stream": True}) for _ in range(4)]
            queued = asyncio.create_task(session.post(f"{url}/completion", json=body))
            kept = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            kept[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            await kept[0].readuntil(b"}")
            ending = asyncio.create_task(asyncio.to_thread(server.interrupt, signal.SIGTERM))
            await asyncio.to_thread(server.read_until, "stopping")
            await asyncio.sleep(0.1)
            kept[1].write(b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert b"503" in await kept[0].readline()
            kept[1].close()
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(f"{url}/health")
            for stream in streams:
                last = (await stream.read()).decode().strip().rpartition("data: ")[2]
                assert json.loads(last)["tokens_predicted"] == 100
            assert (await (await queued).json())["tokens_predicted"] == 100
            assert 1 < await ending < 6
        assert server.end()[0] == 0


def test_sigterm_ends_an_idle_server_at_once() -> None:
    with Server(FAKE, [*ANY_PORT]) as server:
        server.ready()
        assert server.interrupt(signal.SIGTERM) < 2
        assert server.end()[0] == 0


async def test_a_client_that_does_not_read_does_not_hold_the_server_up() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_STEP_S": "0"}) as server:
        url = server.ready()
        async with aiohttp.ClientSession(read_bufsize=1) as session:
            stream = await open_stream(session, url)
            time.sleep(0.5)  # this loop, and so the client, stands still meanwhile
            assert server.interrupt() < 2
            stream.close()
        assert server.end()[0] == 0


async def test_a_step_that_takes_long_does_not_hold_the_server_up() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_STEP_S": "5"}) as server:
        url = server.ready()
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(open_stream(session, url))
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(server.interrupt) < 2
            with pytest.raises(aiohttp.ClientError):
                await request
        assert server.end()[0] == 0


async def test_a_long_text_does_not_hold_the_server_up() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_TOKENIZE_S": "5"}) as server:
        url = server.ready()
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(session.post(f"{url}/tokenize", json={"content": "x" * 5000}))
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(server.interrupt) < 2
            with pytest.raises(aiohttp.ClientError):
                await request
        assert server.end()[0] == 0


def test_a_signal_while_loading_stops_at_once() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_LOAD_S": "30"}) as server:
        server.listening()
        assert server.interrupt() < 2
        status, out, err = server.end()
    assert status == 0
    assert "ready" not in out
    assert "Traceback" not in err


async def test_a_second_signal_ends_it_at_once() -> None:
    with Server(FAKE, [*ANY_PORT], {"FAKE_STEP_S": "5"}) as server:
        url = server.ready()
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(open_stream(session, url))
            await asyncio.sleep(0.5)
            server.send_signal(signal.SIGINT)
            await asyncio.to_thread(server.read_until, "stopping")
            server.send_signal(signal.SIGTERM)
            assert (await asyncio.to_thread(server.end))[0] == 128 + signal.SIGTERM
            with pytest.raises(aiohttp.ClientError):
                await request


async def open_stream(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    return await session.post(f"{url}/completion", json={"prompt": "a", "stream": True, "n_predict": -1})


COMMAND = """
import sys
from llamahttp.__main__ import main

class Watch:
    def find_spec(name, path, target=None):
        if name == "llamahttp.flags":
            print("importing", flush=True)

sys.meta_path.insert(0, Watch)
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_a_signal_ends_the_command_quietly_while_it_imports_and_starts(number: int, delay_s: float) -> None:
    with Server([sys.executable, "-c", COMMAND], [*ANY_PORT]) as server:
        server.read_until("importing")
        time.sleep(delay_s)
        assert server.interrupt(number) < 2
        status, _, err = server.end()
    assert (status, err) == (0, "")
