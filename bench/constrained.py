"""What holding answers to a JSON Schema costs: one server, rounds with and without it in turn.

    .venv/bin/python -m bench.constrained -m MODEL --server ".venv/bin/llamahttp -np 16 -c 16384 -t 1"

Ratios are of neighbouring rounds, and of processor time, so that a machine that is busy otherwise spoils them less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import socket
import statistics
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

N_STREAMS, N_PROMPT, N_PREDICT = 16, 32, 32
ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "role": {"enum": ["admin", "user", "guest"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
        "score": {"type": "number"},
    },
    "required": ["name", "age", "role", "tags", "score"],
    "additionalProperties": False,
}
SCHEMA = {"type": "array", "minItems": 50, "items": ITEM}
"""So long that no answer ends before it is cut."""


def ask(url: str, body: dict[str, Any]) -> int:
    request = urllib.request.Request(f"{url}/completion", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=300) as response:
        return int(json.load(response)["tokens_predicted"])


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_round(url: str, pid: int, extra: dict[str, Any], chance: random.Random) -> tuple[float, float]:
    """Tokens/s, and milliseconds of processor time a token."""
    prompts = [[chance.randrange(300, 30_000) for _ in range(N_PROMPT)] for _ in range(N_STREAMS)]
    common = {"n_predict": N_PREDICT, "ignore_eos": True, "cache_prompt": False, **extra}
    with ThreadPoolExecutor(N_STREAMS) as pool:
        used, start = processor_s(pid), time.monotonic()
        n = sum(pool.map(lambda prompt: ask(url, {"prompt": prompt, **common}), prompts))
        elapsed = time.monotonic() - start
    assert n == N_STREAMS * N_PREDICT, f"{n} tokens came"
    return n / elapsed, 1e3 * (processor_s(pid) - used) / n


def wait_until_healthy(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not become healthy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--server", required=True, metavar="CMD", help="-m, --host and --port are appended")
    parser.add_argument("--rounds", type=int, default=4, help="of each kind, after one that is not counted (4)")
    args = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [*shlex.split(args.server), "-m", args.model, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url, chance = f"http://127.0.0.1:{port}", random.Random(1)
            wait_until_healthy(url)
            rounds = [
                [run_round(url, server.pid, extra, chance) for extra in ({}, {"json_schema": SCHEMA})]
                for _ in range(args.rounds + 1)
            ][1:]
        finally:
            server.terminate()
    for i, name in enumerate(("tokens/s", "CPU ms a token")):
        free, held = zip(*((pair[0][i], pair[1][i]) for pair in rounds), strict=True)
        ratios = [b / a for a, b in zip(free, held, strict=True)]
        print(
            f"{name}: free {statistics.median(free):.2f}, constrained {statistics.median(held):.2f}, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
