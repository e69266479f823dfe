"""The load generator against a server that answers byte for byte as each test says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.address import Address
from bench.client import run_round
from bench.contest import Bout
from bench.errors import BenchError
from bench.exchange import Exchange, Head, Outcome, outcome
from bench.figures import CpuUse, percentile, ratios, round_figures
from bench.load import main
from bench.scenario import Request, Streams
from bench.scoreboard import text_of
from bench.server import end, started
from bench.throughput import Throughput

Step = float | bytes  # wait that long (seconds), or send that
CLOSE = b"\0close"


class FakeServer:
    """An HTTP server on its own thread. The n-th POST gets the n-th script, the last one again and again.

    Every GET is answered with 200 and `info`. A script that ends with CLOSE closes the connection.
    """

    def __init__(self, scripts: Sequence[Sequence[Step]], info: dict[str, Any] | None = None) -> None:
        self.scripts = scripts
        self.info = json_response(info or {})
        self.bodies: list[dict[str, Any]] = []
        self.n_connections = 0
        self.address = Address("127.0.0.1", 0)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        try:
            while await self.answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False when the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET"):
            writer.write(self.info)
            return True
        n_body = int(head.lower().partition("content-length:")[2].split()[0])
        script = self.scripts[min(len(self.bodies), len(self.scripts) - 1)]
        self.bodies.append(json.loads(await reader.readexactly(n_body)))
        for step in script:
            if step == CLOSE:
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        return True

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        handlers = asyncio.all_tasks() - {asyncio.current_task()}
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@contextmanager
def serving(*scripts: Sequence[Step], info: dict[str, Any] | None = None) -> Iterator[FakeServer]:
    fake = FakeServer(scripts, info)
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(fake.serve(ready, stop),))
    thread.start()
    try:
        assert ready.wait(5)
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def json_response(value: Any, status: str = "200 OK") -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: dict[str, Any]) -> bytes:
    return chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


def token(text: str = "x") -> bytes:
    return event({"content": text, "stop": False})


def final(n_predicted: int, n_prompt: int = 3) -> bytes:
    return event({"content": "", "stop": True, "tokens_predicted": n_predicted, "tokens_evaluated": n_prompt})


def whole_stream(n: int) -> list[Step]:
    return [STREAM_HEAD, *[token()] * n, final(n), STREAM_END]


def request(n_expected: int = 2, stream: bool = True) -> Request:
    return Request("native", b"{}", n_expected, stream)


def ask(fake: FakeServer, *requests: Request, timeout_s: float = 5.0) -> list[Outcome]:
    """The outcomes of one lane that sends `requests`."""
    raw = run_round(fake.address, [list(requests)], timeout_s)
    return [outcome(exchange) for exchange in raw.exchanges]


def fed(reads: Sequence[tuple[float, bytes]], asked: Request) -> tuple[Exchange, list[bool]]:
    """An exchange sent at 10.0 that got `reads`, and what each read said about the end."""
    exchange = Exchange(asked, sent_at=10.0)
    return exchange, [exchange.feed(at, data) for at, data in reads]


def outcome_of(times: list[float], latency: float, fault: str | None = None) -> Outcome:
    return Outcome(latency, times, len(times), 3, fault)


# figures


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 99, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.5),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([float(i) for i in range(101)], 95, 95.0),
        ([0.0, 10.0], 99, 9.9),
        ([5.0, 1.0], 0, 1.0),
        ([5.0, 1.0], 100, 5.0),
    ],
)
def test_percentiles_lie_between_neighbours(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == pytest.approx(expected)


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_gaps_of_all_streams_are_pooled() -> None:
    outcomes = [outcome_of([0.1, 0.2, 0.3], 0.4), outcome_of([0.3, 0.8], 0.8)]
    figures = round_figures(outcomes, wall_s=2.0, cpu=CpuUse(client_s=0.5, server_s=0.01))
    assert figures["tokens_per_s"] == pytest.approx(2.5)
    assert figures["requests_per_s"] == pytest.approx(1.0)
    assert figures["ttft_p50"] == pytest.approx(200)
    assert figures["ttft_p95"] == pytest.approx(290)
    assert figures["gap_p50"] == pytest.approx(100)  # of 100, 100 and 500 ms
    assert figures["gap_p99"] == pytest.approx(492)
    assert figures["client_cpu"] == pytest.approx(25)
    assert figures["server_cpu_per_token"] == pytest.approx(2000)
    assert "idle_cpu" not in figures


def test_times_of_faulty_answers_are_left_out_but_their_tokens_count() -> None:
    outcomes = [outcome_of([0.1, 0.2], 0.3), outcome_of([5.0, 8.0], 9.0, "short answer")]
    figures = round_figures(outcomes, wall_s=1.0, cpu=CpuUse(client_s=0.0))
    assert figures["ttft_p95"] == pytest.approx(100)
    assert figures["gap_p99"] == pytest.approx(100)
    assert figures["latency_p95"] == pytest.approx(300)
    assert figures["requests_per_s"] == 1
    assert figures["tokens_per_s"] == 4


def test_ratios_are_taken_round_by_round() -> None:
    # a machine that is half as fast in the second round leaves the ratio alone
    found = ratios([{"x": 30.0}, {"x": 15.0}, {"x": 20.0}], [{"x": 20.0}, {"x": 10.0}, {"x": 20.0}], "x")
    assert found is not None
    assert (found.median, found.low, found.high) == (1.5, 1.0, 1.5)
    assert ratios([{"x": 1.0}], [{}], "x") is None


def test_the_table_has_latency_for_whole_answers_and_ttft_for_streams() -> None:
    streamed = {measure.key for measure in Throughput("load", Streams(1)).measures}
    whole = {measure.key for measure in Throughput("load", Streams(1, stream=False)).measures}
    assert {"ttft_p50", "ttft_p99", "gap_p95", "gap_p99"} <= streamed
    assert {"latency_p50", "requests_per_s"} <= whole
    assert "latency_p50" not in streamed and "ttft_p50" not in whole
    assert set(round_figures([outcome_of([0.1, 0.2], 0.3)], 1.0, CpuUse(0.0))) - {"requests_per_s"} <= streamed | whole


def test_the_table_shows_medians_gains_and_faults() -> None:
    bout = Bout.of(Throughput("load", Streams(16), variant="16"), ["A", "B"])
    ours, theirs = bout.series
    ours.figures = [{"tokens_per_s": 1500.0}, {"tokens_per_s": 3000.0}, {"tokens_per_s": 1200.0}]
    theirs.figures = [{"tokens_per_s": 1000.0, "others_cpu": 60.0}] * 3
    theirs.faults["HTTP 503: busy"] = 2
    lines = text_of(bout).splitlines()
    row = next(line for line in lines if line.startswith("tokens/s"))
    cells = ["tokens/s ↑", "1 000.0", "1 500.0", "1.50x", "1.20 .. 3.00", "1 000.0 .. 1 000.0", "1 200.0 .. 3 000.0"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells
    assert "! B: 2 x HTTP 503: busy" in lines
    assert "! B: other programs took up to 60 % of a core meanwhile" in lines


# one answer, with the clock in the test's hand


def test_times_count_from_sending_to_each_event_with_text() -> None:
    reads = [
        (10.5, STREAM_HEAD),
        (11.0, token("a")),
        (11.2, token("") + chunk(b": ping\n\n")),  # text held back, and a comment: nothing new to see
        (11.5, token("b") + token("c")),
        (12.0, final(4) + STREAM_END),
    ]
    exchange, ends = fed(reads, request(4))
    assert ends == [False, False, False, False, True]
    result = outcome(exchange)
    assert result.fault is None
    assert result.token_times == pytest.approx([1.0, 1.5, 1.5])
    assert result.gaps == pytest.approx([0.5, 0.0])
    assert result.ttft == pytest.approx(1.0)
    assert result.latency == pytest.approx(2.0)
    assert (result.n_predicted, result.n_prompt) == (4, 3)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_any_cut_through_the_bytes_gives_the_same_answer(newline: bytes) -> None:
    events = b"".join(
        b"data: " + json.dumps(value).encode() + newline * 2
        for value in ({"content": "é0"}, {"content": "0"}, {"stop": True, "tokens_predicted": 2})
    )
    data = STREAM_HEAD + b"".join(chunk(events[i : i + 16]) for i in range(0, len(events), 16)) + STREAM_END
    for cut in range(1, len(data)):
        exchange, ends = fed([(11.0, data[:cut]), (12.0, data[cut:])], request(2))
        assert ends == [False, True]
        result = outcome(exchange)
        assert (result.fault, len(result.token_times), result.n_predicted) == (None, 2, 2)


def test_byte_by_byte_ends_with_the_last_byte_only() -> None:
    data = b"".join(step for step in whole_stream(3) if isinstance(step, bytes))
    exchange, ends = fed([(11.0, data[i : i + 1]) for i in range(len(data))], request(3))
    assert ends == [False] * (len(data) - 1) + [True]
    assert outcome(exchange).fault is None


def test_chat_counts_text_reasoning_and_tool_calls_but_not_the_role() -> None:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": None},
        {"reasoning_content": "hm"},
        {"content": "a"},
        {"tool_calls": [{"index": 0}]},
    ]
    events = [event({"choices": [{"delta": delta, "finish_reason": None}]}) for delta in deltas]
    events += [event({"choices": [{"delta": {}, "finish_reason": "length"}]})]
    events += [event({"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 9}})]
    data = STREAM_HEAD + b"".join(events) + chunk(b"data: [DONE]\n\n") + STREAM_END
    exchange, _ = fed([(11.0, data)], Request("chat", b"{}", 3, True))
    result = outcome(exchange)
    assert result.fault is None
    assert len(result.token_times) == 3
    assert (result.n_predicted, result.n_prompt) == (3, 9)


def test_a_server_without_usage_is_taken_to_send_a_token_an_event() -> None:
    events = [event({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})] * 5
    events += [event({"choices": [{"delta": {}, "finish_reason": "length"}]})]
    exchange, _ = fed([(11.0, STREAM_HEAD + b"".join(events) + STREAM_END)], Request("chat", b"{}", 5, True))
    assert (outcome(exchange).n_predicted, outcome(exchange).fault) == (5, None)


def test_the_head_says_how_the_body_ends() -> None:
    assert Head.parse(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5") == Head(200, 5, False, True)
    assert Head.parse(b"HTTP/1.1 200 OK\r\nConnection: Close") == Head(200, None, False, False)
    assert Head.parse(b"HTTP/1.0 404 Not Found\r\n") == Head(404, None, False, False)


# faults


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ([json_response({"error": {"message": "Loading"}}, "503 X")], "HTTP 503: Loading"),
        ([json_response("nope", "500 X")], 'HTTP 500: "nope"'),
        ([STREAM_HEAD, token(), event({"error": {"message": "no memory"}}), STREAM_END], "error event: no"),
        ([STREAM_HEAD, token(), final(1), STREAM_END], "short answer: 1 of 2 tokens"),
        ([STREAM_HEAD, token(), token(), STREAM_END], "the answer ended without its final event"),
        ([STREAM_HEAD, STREAM_END], "the answer ended without its final event"),
        ([STREAM_HEAD, token(), CLOSE], "connection closed before the end of the answer"),
        ([CLOSE], "connection closed before the end of the answer"),
        ([STREAM_HEAD, chunk(b"data: {nonsense\n\n"), STREAM_END], "not JSON"),
        ([STREAM_HEAD, b"zz\r\nbad\r\n", STREAM_END, CLOSE], "bad chunk size"),
        ([b"SMTP ready\r\n\r\n"], "not an HTTP response"),
        ([STREAM_HEAD, token(), 5.0], "time-out after 0.4 s"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_named(script: list[Step], fault: str) -> None:
    with serving(script) as fake:
        (result,) = ask(fake, request(2), timeout_s=0.4)
    assert result.fault is not None
    assert result.fault.startswith(fault)


def test_a_server_that_is_not_there_is_a_fault_of_each_request() -> None:
    with serving([]) as fake:
        address = fake.address
    raw = run_round(address, [[request(), request()]], timeout_s=1.0)
    faults = [outcome(exchange).fault for exchange in raw.exchanges]
    assert len(faults) == 2
    assert all(fault and fault.startswith("cannot send") for fault in faults)


def test_a_lane_goes_on_after_a_fault() -> None:
    with serving([STREAM_HEAD, CLOSE], whole_stream(2)) as fake:
        first, second = ask(fake, request(), request())
    assert first.fault is not None
    assert second.fault is None


def test_a_kept_connection_that_the_server_closes_is_no_fault() -> None:
    # as llama-server does after a streamed answer, without announcing it
    with serving([*whole_stream(2), CLOSE]) as fake:
        results = ask(fake, request(), request(), request())
    assert [result.fault for result in results] == [None] * 3
    assert len(fake.bodies) == 3


def test_answers_of_all_framings_are_read_over_kept_connections() -> None:
    answer = {"content": "xx", "stop": True, "tokens_predicted": 2}
    unframed = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(answer).encode()
    sized = json_response(answer)
    with serving([sized[:30], 0.01, sized[30:]], [unframed, CLOSE], [sized]) as fake:
        results = ask(fake, *[request(stream=False)] * 3)
    assert [(result.fault, result.n_predicted) for result in results] == [(None, 2)] * 3
    assert results[0].ttft is None
    assert fake.n_connections == 2


def test_streams_run_at_once_and_measure_the_servers_pace() -> None:
    script: list[Step] = [STREAM_HEAD, 0.1, token(), 0.1, token(), final(2), STREAM_END]
    with serving(script) as fake:
        raw = run_round(fake.address, [[request()]] * 8, timeout_s=5.0)
    results = [outcome(exchange) for exchange in raw.exchanges]
    assert all(result.fault is None for result in results)
    assert all(result.ttft is not None and result.ttft >= 0.09 for result in results)
    assert raw.wall_s < 8 * 0.2  # one after another they would take that long
    assert 0 < raw.client_cpu_s < raw.wall_s


# scenarios


def prompts(scenario: Streams, id_round: int) -> list[list[int]]:
    return [json.loads(r.body)["prompt"] for lane in scenario.lanes(id_round, 32_000) for r in lane]


def test_prompts_are_distinct_and_the_same_for_both_servers() -> None:
    scenario = Streams(4, n_prompt=32, n_requests=3)
    first, second = prompts(scenario, 1), prompts(scenario, 2)
    assert first == prompts(scenario, 1)
    assert len({tuple(prompt[:2]) for prompt in first + second}) == 24  # not even a prefix in common
    assert all(len(prompt) == 32 and min(prompt) >= 4_000 and max(prompt) < 28_000 for prompt in first)
    assert [len(lane) for lane in scenario.lanes(1, 32_000)] == [3] * 4
    assert prompts(Streams(4, seed=2), 1) != prompts(Streams(4), 1)


def test_a_shared_prefix_is_shared_within_a_round_only() -> None:
    scenario = Streams(4, n_prompt=8, n_shared=100)
    first, second = prompts(scenario, 1), prompts(scenario, 2)
    assert len({tuple(prompt[:100]) for prompt in first}) == 1
    assert len({tuple(prompt) for prompt in first}) == 4
    assert first[0][:100] != second[0][:100]


def test_bodies_say_what_was_asked_for() -> None:
    native = Streams(1, n_predict=5, extra={"top_k": 1}).lanes(0, 1000)[0][0]
    body = json.loads(native.body)
    assert body.pop("prompt")
    assert body == {"n_predict": 5, "stream": True, "ignore_eos": True, "temperature": 0, "top_k": 1}
    chat = Streams(1, n_predict=5, n_prompt=4, dialect="chat", sampling="default").lanes(0, 1000)[0][0]
    body = json.loads(chat.body)
    (message,) = body.pop("messages")
    assert len(message["content"].split()) == 4
    assert body == {
        "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True
    }  # fmt: skip


# addresses


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80", "http://localhost:80/", "http://[::1]:80", "http://127.9.9.9:80"]
)
def test_loopback_is_welcome(url: str) -> None:
    assert Address.parse(url).port == 80


@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "0.0.0.0", "localhost.example.com", "[2001:db8::1]"])
def test_other_machines_are_refused_unless_allowed(host: str) -> None:
    with pytest.raises(BenchError, match="--allow-remote"):
        Address.parse(f"http://{host}:8080")
    assert Address.parse(f"http://{host}:8080", allow_remote=True).port == 8080


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "127.0.0.1:8080", "http://", "http://[::1", "http://127.0.0.1:80/v1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BenchError):
        Address.parse(url)


# servers that the benchmark starts

HEALTHY = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args): pass
if "--stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def healthy_command(tmp_path: Path) -> str:
    script = tmp_path / "healthy.py"
    script.write_text(HEALTHY)
    return f"{sys.executable} {script}"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_started_server_is_ended_on_the_way_out(healthy_command: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), started("A", healthy_command, "m.gguf", tmp_path, 10.0) as server:
        assert server.process is not None
        assert server.start_s is not None and server.start_s > 0
        assert list(server.process.popen.args)[2:4] == ["-m", "m.gguf"]  # type: ignore[arg-type]
        raise KeyboardInterrupt
    assert server.process is not None
    assert not is_alive(server.process.pid)


def test_a_server_that_ignores_sigterm_is_killed(healthy_command: str, tmp_path: Path) -> None:
    with started("A", f"{healthy_command} --stubborn", None, tmp_path, 10.0) as server:
        assert server.process is not None
        end(server.process, grace_s=0.1)
        assert server.process.popen.returncode == -9


def test_a_server_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = f"{sys.executable} -c \"print('no such model'); raise SystemExit(3)\""
    with pytest.raises(BenchError, match=r"(?s)ended with status 3.*no such model"):
        with started("A", command, None, tmp_path, 10.0):
            pass


@pytest.mark.parametrize("command", ["", "/nonexistent/server", "unclosed 'quote"])
def test_a_command_that_cannot_run_is_an_error(command: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError), started("A", command, None, tmp_path, 1.0):
        pass


def test_a_server_that_never_gets_healthy_is_given_up(tmp_path: Path) -> None:
    command = f'{sys.executable} -c "import time; time.sleep(60)"'
    with (
        pytest.raises(BenchError, match=r"not healthy after 0\.3 s"),
        started("A", command, None, tmp_path, 0.3),
    ):
        pass


# the program


def run_main(*argv: str) -> int:
    return main([*argv, "--streams", "2", "--n-predict", "2", "--rounds", "2", "--timeout", "5"])


def test_two_servers_take_turns_with_the_same_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = {"total_slots": 2, "data": [{"meta": {"n_vocab": 500}}]}
    out = tmp_path / "out.json"
    script: list[Step] = [STREAM_HEAD, token(), 0.01, token(), final(2), STREAM_END]
    with serving(script, info=info) as a, serving(script, info=info) as b:
        code = run_main("--url", f"http://{a.address}", "--versus", f"http://{b.address}", "--json", str(out))
    assert code == 0
    # two streams in two rounds, and a short request of each before
    asked = [body["prompt"] for body in a.bodies]
    assert len(asked) == 8
    assert sorted(asked) == sorted(body["prompt"] for body in b.bodies)
    assert max(max(prompt) for prompt in asked) < 500
    stages = [line.split()[-1] for line in capsys.readouterr().err.splitlines() if "round" in line]
    assert stages == list("ABBA")
    (case,) = json.loads(out.read_text())["cases"]
    assert case["gains"]["B"].keys() >= {"tokens_per_s", "ttft_p95", "gap_p99"}
    assert [len(series["rounds"]) for series in case["series"]] == [2, 2]


def test_faults_are_reported_and_make_the_run_fail(capsys: pytest.CaptureFixture[str]) -> None:
    with serving([json_response({"error": {"message": "full"}}, "503 X")], info={"total_slots": 1}) as fake:
        assert run_main("--url", f"http://{fake.address}") == 1
    captured = capsys.readouterr()
    assert "! A: 8 x HTTP 503: full" in captured.out
    assert "A has 1 slots for 2 streams" in captured.err


def test_another_machine_is_refused_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("--url", "http://192.0.2.1:8080") == 2
    assert "'192.0.2.1' is not a loopback address" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--streams", "0"], ["--body", "[1]"], ["--body", "{"], ["--versus", "x"]])
def test_bad_arguments_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    server = [] if argv[0] == "--versus" else ["--url", "http://127.0.0.1:1"]
    with pytest.raises(SystemExit) as stop:
        main([*server, *argv])
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err
