"""Embeddings: how many a second an encoder gives many clients, and how long one takes while others generate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.case import Flag, Host, Measure, Take, completion
from bench.client import run_round
from bench.exchange import Outcome, outcome
from bench.figures import fault_counts, percentile
from bench.scenario import Lane, Request, Streams, random_tokens
from bench.throughput import Throughput

N_TOKENS = 64

RATE = Throughput(
    "embeddings",
    Streams(32, n_prompt=N_TOKENS, n_requests=10, dialect="embedding", stream=False),
    model="encoder",
    flags=(("--embeddings",), ("-np", "32"), ("-kvu",)),
    headline="requests_per_s",
)
"""An encoder of the size of MiniLM."""


@dataclass(frozen=True, slots=True)
class EmbeddingsAmongStreams:
    """One client wants embeddings, one after the other, while others generate."""

    n_streams: int = 4
    n_predict: int = 512
    n_embeddings: int = 10

    name: ClassVar[str] = "embeddings-among-streams"
    variant: ClassVar[str] = ""
    model: ClassVar[str] = "dense"
    flags: ClassVar[tuple[Flag, ...]] = (
        ("--embeddings",), ("--pooling", "mean"), ("-np", "8"), ("-kvu",), ("-c", "16384"),
    )  # fmt: skip
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("embedding_p50", "embedding p50", "ms", 1, False, "from sending it to its answer"),
        Measure("embedding_worst", "slowest embedding", "ms", 1, False, "the same"),
        Measure("tokens_per_s", "generated tokens/s", "", 0, True, "of all streams, until everything is answered"),
    )
    # fmt: on

    @property
    def title(self) -> str:
        return f"{self.n_embeddings} embeddings of {N_TOKENS} tokens among {self.n_streams} streams"

    def lanes(self, seed: str, n_vocab: int) -> list[Lane]:
        """The streams, of different lengths so that they begin anew at different times, and the embeddings last."""
        lanes = [
            [completion(random_tokens(f"{seed}/{i}/{k}", 32, n_vocab), self.n_predict) for k in range(1 + i % 3)]
            for i in range(self.n_streams)
        ]
        embeddings = Streams(1, n_prompt=N_TOKENS, n_requests=self.n_embeddings, dialect="embedding", seed=seed)
        return lanes + embeddings.lanes(0, n_vocab)

    def run(self, host: Host, seed: str) -> Take:
        server = host.keep(*self.flags)
        result = run_round(server.address, self.lanes(seed, host.n_vocab), host.timeout_s)
        server.check_alive()
        pairs = [(exchange.request, outcome(exchange)) for exchange in result.exchanges]
        take = Take(faults=fault_counts([each for _, each in pairs]))
        take.figures["tokens_per_s"] = sum(each.n_predicted for _, each in pairs) / result.wall_s
        if times := [1e3 * each.latency for request, each in pairs if is_whole_embedding(request, each)]:
            take.figures |= {"embedding_p50": percentile(times, 50), "embedding_worst": max(times)}
        return take


def is_whole_embedding(request: Request, answer: Outcome) -> bool:
    return request.dialect == "embedding" and answer.fault is None
