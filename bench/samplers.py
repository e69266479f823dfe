"""What sampling costs a slot and step: ours, against the same chain that libllama runs for one slot after the other.

    python -m bench.samplers [--vocab 128256] [--slots 1,4,16,32] [--steps 20] [--only NAME]

No model: the logits are drawn, peaked as a language model's are (or flat, the worst case), and differ in each step. The
reference is what llama-server does: all tokens with their logits into an array, the whole chain over it, slot by slot.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llamahttp.binding.chain import Candidates, LlamaChain
from llamahttp.binding.dry import DryStages
from llamahttp.binding.sampler_factory import LlamaSamplerFactory
from llamahttp.task import SamplingParams

CASES = {
    "greedy": SamplingParams(temperature=0),
    "default": SamplingParams(),
    "temperature only": SamplingParams(samplers=("temperature",)),
    "top_p without top_k": SamplingParams(top_k=0, min_p=0.0),
    "top_p, min_p without top_k": SamplingParams(top_k=0),
    "min_p only": SamplingParams(samplers=("min_p", "temperature")),
    "penalties": SamplingParams(repeat_penalty=1.1, presence_penalty=0.2),
    "penalties without top_k": SamplingParams(repeat_penalty=1.1, top_k=0),
    "DRY": SamplingParams(dry_multiplier=0.8, dry_sequence_breakers=()),
    "DRY over 4096 tokens": SamplingParams(dry_multiplier=0.8, dry_penalty_last_n=4096, dry_sequence_breakers=()),
    "penalties over 4096 tokens": SamplingParams(repeat_penalty=1.1, repeat_last_n=4096),
    "top_n_sigma": SamplingParams(top_n_sigma=1.0),
    "Mirostat 2": SamplingParams(mirostat=2),
}


class NoVocab:
    """A vocabulary of a size, without texts."""

    handle = None
    eos = -1
    suppressed = ()
    eog: frozenset[int] = frozenset()

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = n_tokens


class Reference:
    """llama-server's way: one thread, one array, the whole chain over all tokens."""

    def __init__(self, params: Sequence[SamplingParams], n_vocab: int, prompt: NDArray[np.int32]) -> None:
        dry = DryStages(None)  # type: ignore[arg-type]
        self._chains = [LlamaChain(each, None, n_vocab, dry) for each in params]  # type: ignore[arg-type]
        self._candidates = Candidates(n_vocab)
        self._all = np.arange(n_vocab, dtype=np.int32)
        for chain in self._chains:
            for token in prompt.tolist():
                chain.accept(token)

    def step(self, logits: NDArray[np.float32]) -> list[int]:
        tokens = []
        for chain, row in zip(self._chains, logits, strict=False):
            self._candidates.fill(self._all, row)
            tokens.append(chain.select(self._candidates))
            chain.accept(tokens[-1])
        return tokens


def peaked(n_vocab: int, n_rows: int, seed: int) -> NDArray[np.float32]:
    """Logits that fall with the logarithm of the rank, as words do, with noise; about 20 tokens have half of the
    probability and the tail has some."""
    rng = np.random.default_rng(seed)
    ranks = np.log(np.arange(1, n_vocab + 1, dtype=np.float32))
    rows = np.stack([rng.permutation(12 - 1.4 * ranks) for _ in range(n_rows)])
    return (rows + rng.normal(0, 0.5, rows.shape)).astype(np.float32)


def flat(n_vocab: int, n_rows: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n_rows, n_vocab)).astype(np.float32)


def us_per_slot(step: Callable[[NDArray[np.float32]], object], rows: Sequence[NDArray[np.float32]], n: int) -> float:
    """Median of steps over different logits; the first two warm up."""
    times = []
    for i in range(n + 2):
        logits = rows[i % len(rows)]
        began = time.perf_counter()
        step(logits)
        times.append(1e6 * (time.perf_counter() - began) / len(logits))
    return statistics.median(times[2:])


def measure(name: str, params: SamplingParams, rows: list[NDArray[np.float32]], args: argparse.Namespace) -> str:
    n_vocab = rows[0].shape[1]
    prompt = np.random.default_rng(1).integers(0, n_vocab, 4096).astype(np.int32)
    cells = []
    for n_slots in args.slots:
        some = [matrix[:n_slots] for matrix in rows]
        seeded = [replace(params, seed=i) for i in range(n_slots)]
        factory = LlamaSamplerFactory(NoVocab(n_vocab))  # type: ignore[arg-type]
        samplers = [factory.open(each, prompt) for each in seeded]
        cells.append(us_per_slot(lambda logits: factory.sample(samplers, logits), some, args.steps))  # noqa: B023
        for sampler in samplers:
            sampler.close()
        factory.close()
    reference = us_per_slot(Reference([params], n_vocab, prompt).step, [matrix[:1] for matrix in rows], args.steps)
    shown = " | ".join(f"{cell:,.0f}" for cell in cells)
    return f"| {name} | {shown} | {reference:,.0f} | {reference / cells[-1]:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=128_256)
    parser.add_argument("--slots", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 16, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--flat", action="store_true", help="logits of no model: nearly all tokens are candidates")
    parser.add_argument("--only", choices=CASES)
    args = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as the server does
    draw = flat if args.flat else peaked
    rows = [draw(args.vocab, max(args.slots), seed) for seed in range(3)]
    slots = " | ".join(f"{n} slots" if n > 1 else "1 slot" for n in args.slots)
    print(f"us a slot and step, {args.vocab:,} tokens, {'flat' if args.flat else 'peaked'} logits\n")
    print(f"| chain | {slots} | libllama's, serially | ratio |")
    print("|---" * (len(args.slots) + 3) + "|")
    for name, params in CASES.items():
        if args.only in (None, name):
            print(measure(name, params, rows, args), flush=True)


if __name__ == "__main__":
    main()
