"""What rendering a chat costs: the time of `/apply-template` over one connection, two servers in turn.

    python -m bench.templates --versus llamahttp/_lib/current/llama-server

The template is Qwen3's from the source of llama.cpp, the model a tiny one that has nothing to do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.models import DENSE
from bench.progress import say
from bench.server import Server, started
from bench.tiny_model import write_model

TEMPLATE = "Qwen-Qwen3-0.6B.jinja"
TIMEOUT_S = 120.0


def bodies() -> dict[str, dict[str, Any]]:
    from tests.template_cases import WEATHER, assistant, user  # here: the rest of the benchmark runs without the tests

    functions = [WEATHER["function"] | {"name": f"tool_{i}"} for i in range(20)]
    tools = [{"type": "function", "function": function} for function in functions]
    return {
        "hi": {"messages": [user("hi")]},
        "20 tools": {"messages": [user("hi")], "tools": tools},
        "200 messages": {"messages": [user("How is it?"), assistant("It is well.")] * 100 + [user("Good.")]},
    }


def template_path() -> Path:
    from tests.template_cases import folder

    found = folder()
    if found is None:
        raise BenchError("the source of llama.cpp is not unpacked: make setup")
    return found / TEMPLATE


def answer_ms(connection: http.client.HTTPConnection, body: bytes) -> float:
    began = time.perf_counter()
    connection.request("POST", "/apply-template", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise BenchError(answer.decode(errors="replace"))
    return 1e3 * (time.perf_counter() - began)


def measure(servers: list[Server], n_rounds: int, n_requests: int) -> None:
    """Print the median time of each body for each server."""
    for name, body in bodies().items():
        data = json.dumps(body).encode()
        times: list[list[float]] = [[] for _ in servers]
        for id_round in range(-1, n_rounds):  # the first warms up
            for server, kept in zip(servers, times, strict=True):
                address = server.address
                with closing(http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)) as connection:
                    new = [answer_ms(connection, data) for _ in range(n_requests)]
                kept += new if id_round >= 0 else []
        shown = (f"{server.name} {statistics.median(kept):.2f} ms" for server, kept in zip(servers, times, strict=True))
        print(f"{name}: {', '.join(shown)}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure /apply-template, two servers in turn.")
    parser.add_argument("--server", metavar="CMD", default=f"{sys.executable} -m llamahttp", help="A (llamahttp)")
    parser.add_argument("--versus", metavar="CMD", help="B: the server to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40, help="requests a round")
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
            model = Path(folder) / "model.gguf"
            write_model(model, DENSE)
            servers = []
            for letter, command in zip("AB", filter(None, (args.server, args.versus)), strict=False):
                line = f"{command} --chat-template-file {template_path()} -c 512 -np 1 -t 1"
                opening = started(letter, line, str(model), Path(folder), TIMEOUT_S)
                servers.append(stack.enter_context(opening))
            measure(servers, args.rounds, args.requests)
    except BenchError as error:
        say(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
