"""Conversations with an engine over a tiny model of each kind of memory, and what each answer has to be.

An answer is right if every token of it is the most likely one after all before it, computed at once from the first
token on in a context of its own, and if the log probabilities that came with it are the same. So answers need not be
compared with other answers, which may part where two tokens are equally likely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamahttp import Engine, EngineConfig, SamplingParams
from llamahttp.activation import activate
from llamahttp.binding.adapter import LlamaAdapters
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel
from llamahttp.task import CompletionTask, Finished, Timings, TokenProbs, Tokens

from . import models

Prompt = NDArray[np.int32]

GREEDY = SamplingParams(temperature=0, ignore_eos=True, backend_sampling=True)

ROUNDING = 0.02
"""Of log probabilities. The company that a row has in its batch decides in which order floats are added, which moves
logits by up to 0.003; one token more, less or at another place moves them by far more."""

N_PROBS = 3
BASE = EngineConfig(
    n_ctx=4096, n_parallel=4, kv_unified=True, n_batch=256, n_ubatch=64, n_threads=1, warmup=False, cache_ram=0
)

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("llama", {}),
    "dense-separate": ("llama", {"kv_unified": False}),
    "window": ("gemma3", {}),
    "window-separate": ("gemma3", {"kv_unified": False}),
    "window-full": ("gemma3", {"swa_full": True}),
    "recurrent": ("mamba", {}),
    "hybrid": ("lfm2", {}),
    "hybrid-separate": ("lfm2", {"kv_unified": False}),
}
"""Kinds of memory: the model, and what differs from `BASE`."""

CUTTABLE = ("dense", "dense-separate")
"""Kinds whose memory can be cut anywhere."""

WRITERS = {
    "llama": models.write_llama,
    "gemma3": models.write_gemma3,
    "mamba": models.write_mamba,
    "lfm2": models.write_lfm2,
}


def words(n: int, seed: int) -> Prompt:
    """Random tokens of the tiny vocabularies."""
    return np.random.default_rng(seed).integers(300, 1100, n).astype(np.int32)


def join(*parts: Prompt | Sequence[int]) -> Prompt:
    return np.concatenate([np.asarray(part, np.int32) for part in parts])


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task."""

    task: CompletionTask
    ids: list[int]
    probs: list[TokenProbs]
    finished: Finished

    @property
    def timings(self) -> Timings:
        return self.finished.timings

    @property
    def text(self) -> Prompt:
        """The prompt and what was generated."""
        return join(self.task.prompt, self.ids)


async def ask(engine: Engine, prompt: Prompt, n_predict: int = 8, n_probs: int = N_PROBS, **options: Any) -> Answer:
    """The whole answer to a prompt."""
    task = CompletionTask(prompt, GREEDY, n_predict, n_probs=n_probs, **options)
    ids: list[int] = []
    probs: list[TokenProbs] = []
    async with engine.submit(task) as stream:
        async for result in stream:
            match result:
                case Tokens(new, _, new_probs):
                    ids += new
                    probs += new_probs
                case Finished():
                    return Answer(task, ids, probs, result)
    raise AssertionError("the stream ended without a result")


async def cancel_after(engine: Engine, prompt: Prompt, seconds: float, **options: Any) -> None:
    """Ask, and leave before the answer is whole."""
    asking = asyncio.ensure_future(ask(engine, prompt, 64, **options))
    await asyncio.wait((asking,), timeout=seconds)
    asking.cancel()
    await asyncio.wait((asking,))


class Judge:
    """Tells whether answers are right, with a context in which nothing is ever reused."""

    def __init__(self, model: LlamaModel, loras: Sequence[tuple[Path, float]] = ()) -> None:
        sizes = ContextSizes(
            n_ctx=2048,
            n_seq_max=1,
            n_batch=2048,
            n_ubatch=2048,
            n_threads=1,
            n_threads_batch=1,
            kv_unified=True,
            n_outputs=2048,
        )
        self.model = model
        self._adapters = LlamaAdapters(model, [path for path, _ in loras])
        self._decoder = LlamaDecoder(model, sizes, self._adapters)
        self._eog = sorted(model.vocab.eog)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._decoder.close()
        self._adapters.close()

    def check(self, *answers: Answer) -> None:
        """Every token and every log probability of the answers."""
        for answer in answers:
            assert len(answer.ids) == len(answer.probs) > 0
            errors = self.errors(answer)
            assert errors.max() < ROUNDING, f"{answer.timings}: {errors.round(3)}"

    def check_tokens(self, *answers: Answer) -> None:
        """Every token of answers that came without log probabilities."""
        for answer in answers:
            expected = self._log_probabilities(answer)
            expected[:, self._eog] = -np.inf
            errors = expected.max(axis=1) - expected[np.arange(len(answer.ids)), answer.ids]
            assert len(errors) > 0
            assert errors.max() < ROUNDING, f"{answer.timings}: {errors.round(3)}"

    def errors(self, answer: Answer) -> NDArray[np.float64]:
        """By how much each token is less likely than the likeliest, or its log probabilities are wrong."""
        expected = self._log_probabilities(answer)
        errors = np.empty(len(answer.ids))
        for i, (token, probs, row) in enumerate(zip(answer.ids, answer.probs, expected, strict=True)):
            differences = [abs(row[known] - logprob) for known, logprob in ((token, probs.logprob), *probs.top)]
            row[self._eog] = -np.inf
            errors[i] = max(row.max() - row[token], *differences)
        return errors

    def _log_probabilities(self, answer: Answer) -> NDArray[np.float64]:
        """After the prompt and after each token but the last, float64[n_predicted, n_vocab]."""
        decoder, tokens, n = self._decoder, answer.text[:-1], len(answer.ids)
        task = activate(answer.task, [lora.invocation for lora in self._adapters.loras])
        decoder.remove(0, 0)
        if task.adapters_from:
            self._compute(tokens[: task.adapters_from], 0, n_outputs=1)
        self._compute(tokens[task.adapters_from :], task.adapters_from, n, task.adapters)
        logits = decoder.logits(n).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        result: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return result

    def _compute(self, tokens: Prompt, start: int, n_outputs: int, adapters: Sequence[tuple[int, float]] = ()) -> None:
        batch, n_rows = self._decoder.batch, len(tokens)
        batch.tokens[:n_rows] = tokens
        batch.positions[:n_rows] = start + np.arange(n_rows)
        batch.outputs[:n_rows] = np.arange(n_rows) >= n_rows - n_outputs
        batch.set_sequence(0, n_rows, 0)
        self._decoder.set_adapters(adapters)
        self._decoder.decode(n_rows)


@dataclass(frozen=True)
class Memory:
    """A kind of memory: what engines over it are opened with, and who judges their answers."""

    name: str
    config: EngineConfig
    judge: Judge

    async def open(self, **changes: Any) -> Engine:
        return await Engine.open(replace(self.config, **changes))


OPENING = words(3, seed=1)
"""What a template puts before every answer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The prompt of a chat's next turn.

    prompt   [history ....)[message ....)[OPENING)
    turns                  ^             ^
    """

    history: Prompt
    message: Prompt

    @property
    def prompt(self) -> Prompt:
        return join(self.history, self.message, OPENING)

    @property
    def turns(self) -> tuple[int, ...]:
        n = len(self.history)
        return tuple(turn for turn in (n, n + len(self.message)) if turn > 0)


async def take_turn(engine: Engine, history: Prompt, message: Prompt, n_predict: int = 8, **options: Any) -> Answer:
    """Send the next message of a chat."""
    turn = Turn(history, message)
    return await ask(engine, turn.prompt, n_predict, turns=turn.turns, **options)
