"""Embeddings: how many a second for many clients, and how long one takes while chats run. Two servers in turn.

    python -m bench.embeddings --versus "llamahttp/_lib/current/llama-server" rate chats

`rate` uses an encoder of the size of MiniLM, `chats` a small llama; both have random weights and are made for the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.client import Round, run_round
from bench.errors import BenchError
from bench.figures import percentile
from bench.meter import say
from bench.models import DENSE
from bench.scenario import Lane, Request, random_tokens
from bench.server import Server, started
from bench.tiny_model import Shape, write_model

MINI = Shape(n_layers=6, d_model=384, n_heads=12, n_heads_kv=12, n_ff=1536, n_vocab=30_000, n_ctx=512, weights="f32")
N_TOKENS = 64
N_CLIENTS, N_REQUESTS = 32, 20
N_CHATS, N_PREDICT, N_CHAT_REQUESTS, N_AMONG = 4, 512, 3, 10
TIMEOUT_S = 120.0


def embedding(seed: str, n_vocab: int) -> Request:
    body = {"input": [random_tokens(seed, N_TOKENS, n_vocab)], "encoding_format": "base64"}
    return Request("embedding", json.dumps(body).encode(), 0, False)


def chat(seed: str, n_vocab: int) -> Request:
    prompt = random_tokens(seed, 32, n_vocab)
    body = {"prompt": prompt, "n_predict": N_PREDICT, "stream": True, "ignore_eos": True, "temperature": 0}
    return Request("native", json.dumps(body).encode(), N_PREDICT, True)


def rate_lanes(id_round: int, n_vocab: int) -> list[Lane]:
    return [[embedding(f"{id_round} {i} {j}", n_vocab) for j in range(N_REQUESTS)] for i in range(N_CLIENTS)]


def chat_lanes(id_round: int, n_vocab: int) -> list[Lane]:
    """Chats that overlap, one after the other for each client, and one client that wants embeddings."""
    lanes = [[chat(f"{id_round} {i} {j}", n_vocab) for j in range(N_CHAT_REQUESTS)] for i in range(N_CHATS)]
    lanes = [lane[: 1 + i] if i < N_CHAT_REQUESTS else lane for i, lane in enumerate(lanes)]
    return [*lanes, [embedding(f"{id_round} {j}", n_vocab) for j in range(N_AMONG)]]


def rate_figures(result: Round) -> dict[str, float]:
    return {"embeddings/s": len(result.exchanges) / result.wall_s, "p95 ms": 1e3 * latency(result, 95)}


def chat_figures(result: Round) -> dict[str, float]:
    n_tokens = sum(exchange.request.n_expected for exchange in result.exchanges)
    return {
        "embedding median ms": 1e3 * latency(result, 50),
        "embedding worst ms": 1e3 * latency(result, 100),
        "chat tok/s": n_tokens / result.wall_s,
    }


def latency(result: Round, percent: float) -> float:
    times = [
        exchange.ended_at - exchange.sent_at
        for exchange in result.exchanges
        if exchange.request.dialect == "embedding" and exchange.ended_at is not None
    ]
    return percentile(times, percent)


@dataclass(frozen=True, slots=True)
class Case:
    """A model with flags, what the clients of a round send, and the figures of a round."""

    write: Callable[[Path], object]
    flags: str
    lanes: Callable[[int, int], list[Lane]]
    figures: Callable[[Round], dict[str, float]]
    n_vocab: int


def write_encoder(path: Path) -> object:
    from tests import models  # here: the rest of the benchmark runs without the tests

    return models.write_bert(path, replace(MINI))


CASES = {
    "rate": Case(write_encoder, f"--embeddings -np {N_CLIENTS} -kvu", rate_lanes, rate_figures, MINI.n_vocab),
    "chats": Case(
        lambda path: write_model(path, DENSE),
        f"--embeddings --pooling mean -np {2 * N_CHATS} -kvu -c 16384",
        chat_lanes,
        chat_figures,
        DENSE.n_vocab,
    ),
}


def measure(name: str, commands: list[str], n_rounds: int, folder: Path) -> None:
    """Print the median of each figure for each server. Raises BenchError for a request that failed."""
    case = CASES[name]
    model = folder / f"{name}.gguf"
    case.write(model)
    with ExitStack() as stack:
        servers: list[Server] = []
        for letter, command in zip("AB", commands, strict=False):
            opening = started(letter, f"{command} {case.flags}", str(model), folder, TIMEOUT_S)
            servers.append(stack.enter_context(opening))
        rounds: list[list[dict[str, float]]] = [[] for _ in servers]
        for id_round in range(-1, n_rounds):  # the first warms up
            for server, figures in zip(servers, rounds, strict=True):
                result = run_round(server.address, case.lanes(id_round, case.n_vocab), TIMEOUT_S)
                check(server, result)
                if id_round >= 0:
                    figures.append(case.figures(result))
    for server, figures in zip(servers, rounds, strict=True):
        shown = (f"{key} {statistics.median(each[key] for each in figures):.1f}" for key in figures[0])
        print(f"{name} {server.name} ({server.label}): {', '.join(shown)}")


def check(server: Server, result: Round) -> None:
    for exchange in result.exchanges:
        if exchange.fault is not None or exchange.head is None or exchange.head.status != 200:
            head = exchange.reads[0][1][:300] if exchange.reads else b""
            raise BenchError(f"{server.name}: {exchange.fault or head!r}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure embeddings, two servers in turn.")
    parser.add_argument("--server", metavar="CMD", default=f"{sys.executable} -m llamahttp", help="A (llamahttp)")
    parser.add_argument("--versus", metavar="CMD", help="B: the server to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE", help="rate, chats (both)")
    args = parser.parse_args(argv)
    commands = [command for command in (args.server, args.versus) if command]
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for name in args.cases or CASES:
                measure(name, commands, args.rounds, Path(folder))
    except BenchError as error:
        say(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
