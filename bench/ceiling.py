"""The ceiling: libllama through the binding, without a server, requests, text or sampling.

    python -m bench.ceiling decode -m model.gguf --streams 16        # tokens/s of one batch after the other
    python -m bench.ceiling load -m model.gguf                       # milliseconds until a token is decoded

`Ceiling` plays cases of a contest with it, each run in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.case import Case, Take
from bench.errors import BenchError
from bench.progress import Progress
from bench.scenario import random_tokens
from bench.startup import StartUp
from bench.throughput import Throughput

ROOT = Path(__file__).resolve().parent.parent
NAME = "libllama"
N_BATCH = 2048  # tokens of prompts that are decoded at once, as servers do by default


@dataclass(slots=True)
class Ceiling:
    """Plays (`bench.contest.Player`) what can be done without a server; see `plays`."""

    model: Path
    timeout_s: float
    progress: Progress

    @staticmethod
    def plays(case: Case) -> bool:
        match case:
            case Throughput(streams=streams):
                return streams.dialect == "native" and not streams.extra and streams.n_predict > 1
            case _:
                return isinstance(case, StartUp)

    def begin(self, heading: str) -> None:
        self.progress.begin(f"{heading} · {NAME}")

    def play(self, case: Case, seed: str) -> Take:
        match case:
            case Throughput(streams=streams):
                sizes = {
                    "--streams": streams.n_streams,
                    "--n-prompt": streams.n_shared + streams.n_prompt,
                    "--n-predict": streams.n_predict,
                    "--requests": streams.n_requests,
                }
                return Take(self._run("decode", *(str(word) for pair in sizes.items() for word in pair)))
            case StartUp():
                case.prepare(self.model)
                return Take(self._run("load"))
        raise AssertionError(f"{case.name} needs a server")

    def _run(self, *arguments: str) -> dict[str, float]:
        command = [sys.executable, "-m", "bench.ceiling", *arguments, "-m", str(self.model)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{NAME} takes longer than {self.timeout_s:g} s") from None
        if done.returncode:
            raise BenchError(f"{NAME}: {done.stderr.strip()[-300:]}")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def decode(args: argparse.Namespace) -> dict[str, float]:
    """Prompts of all streams, then a token for each of them in every batch, as often as there are requests."""
    decoder, n_vocab, close = open_decoder(args.model, args.streams, args.n_prompt + args.n_predict)
    try:
        prompts = [random_tokens(str(id_seq), args.n_prompt, n_vocab) for id_seq in range(args.streams)]
        fill(decoder, prompts)  # warms up
        began = time.perf_counter()
        for _ in range(args.requests):
            for id_seq in range(args.streams):
                decoder.remove(id_seq, 0)
            fill(decoder, prompts)
            generate(decoder, args.streams, args.n_prompt, args.n_predict - 1)
        n_tokens = args.requests * args.streams * args.n_predict
        return {"tokens_per_s": n_tokens / (time.perf_counter() - began)}
    finally:
        close()


def open_decoder(model: Path, n_streams: int, n_ctx_seq: int) -> tuple[Any, int, Callable[[], None]]:
    """As the server opens it, with as much context as this takes; the size of its vocabulary; what closes it."""
    from llamahttp.config import EngineConfig  # here: the contest itself needs no library
    from llamahttp.loading import Loading

    n_ctx = n_streams * (-(-n_ctx_seq // 256) * 256)  # libllama pads what a sequence gets
    loading = Loading(EngineConfig(model=model, n_parallel=n_streams, n_ctx=n_ctx, cache_ram=0), None)
    opened = loading.run()
    return opened.decoder, opened.model.info.n_vocab, loading.give_up


def fill(decoder: Any, prompts: list[list[int]]) -> None:
    """Give sequences [0, len(prompts)), which are empty, a prompt each, all of one length."""
    n_prompt = len(prompts[0])
    n_at_once = max(1, min(N_BATCH, decoder.n_batch) // n_prompt)
    batch = decoder.batch
    for first in range(0, len(prompts), n_at_once):
        ids = range(first, min(first + n_at_once, len(prompts)))
        for row, id_seq in enumerate(ids):
            rows = slice(row * n_prompt, (row + 1) * n_prompt)
            batch.tokens[rows] = prompts[id_seq]
            batch.positions[rows] = range(n_prompt)
            batch.outputs[rows] = [0] * (n_prompt - 1) + [1]
            batch.set_sequence(rows.start, rows.stop, id_seq)
        decoder.decode(len(ids) * n_prompt)


def generate(decoder: Any, n_streams: int, n_past: int, n_steps: int) -> None:
    """A token for each sequence in every step. Which one it is makes no difference."""
    batch = decoder.batch
    batch.outputs[:n_streams] = 1
    for id_seq in range(n_streams):
        batch.set_sequence(id_seq, id_seq + 1, id_seq)
    for position in range(n_past, n_past + n_steps):
        batch.positions[:n_streams] = position
        decoder.decode(n_streams)
        decoder.logits(n_streams)


def load(args: argparse.Namespace) -> dict[str, float]:
    """The library, the model, a context and one token, with as little of ours around as can be."""
    from llamahttp.binding import library
    from llamahttp.binding.llama_batch import LlamaBatch
    from llamahttp.binding.load_params import LoadParams
    from llamahttp.config import LoadConfig

    began = time.perf_counter()
    lib = library.load()
    params = LoadParams(lib, LoadConfig())
    model = lib.llama_model_load_from_file(bytes(args.model), params.struct)
    context_params = lib.llama_context_default_params()
    context_params.n_ctx, context_params.n_seq_max = 8192, 4
    context_params.n_outputs_max = 4
    context = lib.llama_init_from_model(model, context_params)
    batch = LlamaBatch(1, 1)
    batch.outputs[0] = 1
    if lib.llama_decode(context, batch.struct(1)):
        raise BenchError("the token cannot be decoded")
    seconds = time.perf_counter() - began
    lib.llama_free(context)
    lib.llama_model_free(model)
    return {"healthy_ms": 1e3 * seconds}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["decode", "load"])
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--n-prompt", type=int, default=32)
    parser.add_argument("--n-predict", type=int, default=128)
    parser.add_argument("--requests", type=int, default=1, help="of each stream, one after the other")
    args = parser.parse_args(argv)
    print(json.dumps((decode if args.what == "decode" else load)(args)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
