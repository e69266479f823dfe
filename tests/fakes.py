"""Fakes of the Protocols in `llamahttp.abc`: an engine without a model, exact about what a real context demands.

The fake model continues a text with a token that depends on every token before it, so a token that leaks from one
conversation into another, a gap or a repetition changes everything that follows.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llamahttp.abc import BatchError, ModelInfo
from llamahttp.config import EngineConfig
from llamahttp.engine import Engine
from llamahttp.sampling import NO_TOKEN
from llamahttp.task import SamplingParams, TokenProbs

EOS = 256
N_VOCAB = 257
LETTERS = b"abcdefghijklmnopqrstuvwxyz "


def next_token(history: Sequence[int]) -> int:
    """What the fake model says after `history`: always a letter or a space, never the end."""
    return LETTERS[zlib.crc32(np.asarray(history, np.int32).tobytes()) % len(LETTERS)]


def continuation(prompt: Sequence[int], n: int) -> list[int]:
    """The first `n` tokens that the fake model generates after `prompt`."""
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class FakeVocab:
    """One token a byte, and an end token that shows as nothing."""

    n_tokens = N_VOCAB
    bos = -1
    eos = EOS
    adds_bos = False
    eog = frozenset({EOS})
    pieces = (*(bytes([i]) for i in range(256)), b"")
    special_pieces = (*pieces[:256], b"<eos>")

    def tokenize(self, text: str | bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        data = text.encode() if isinstance(text, str) else text
        return np.frombuffer(data, np.uint8).astype(np.int32)

    def detokenize(self, tokens: Sequence[int] | NDArray[np.int32], *, special: bool) -> bytes:
        pieces = self.special_pieces if special else self.pieces
        return b"".join(pieces[token] for token in tokens)


class FakeBatch:
    """The columns of a batch as plain arrays."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.outputs = np.zeros(capacity, np.int8)
        self.sequences = np.zeros(capacity, np.int32)

    def set_sequence(self, start: int, stop: int, id_seq: int) -> None:
        self.sequences[start:stop] = id_seq


class FakeDecoder:
    """A unified KV cache of `n_ctx` cells that refuses gaps, and a model that is `next_token`."""

    def __init__(self, n_ctx: int = 4096, n_seq_max: int = 4, n_batch: int = 256, n_ubatch: int = 64) -> None:
        self.n_ctx = self.n_ctx_seq = n_ctx
        self.n_seq_max = n_seq_max
        self.n_batch, self.n_ubatch = n_batch, n_ubatch
        self.batch = FakeBatch(n_batch)
        self.memory: list[list[int]] = [[] for _ in range(n_seq_max)]
        self.batches: list[list[tuple[int, int]]] = []
        """(sequence, token) of every row of every decode."""
        self.errors: list[Exception] = []
        """Raised by the next decodes, one each."""
        self.step_seconds = 0.0
        self.can_remove_parts = True
        self.not_numbers: set[int] = set()
        """Sequences whose logits are not numbers."""
        self.end_after: int | None = None
        """Say EOS once a sequence has this many tokens."""
        self.closed = False
        self.gate = threading.Event()
        """Cleared, it holds the engine thread inside decode."""
        self.gate.set()
        self._logits: list[NDArray[np.float32]] = []

    def decode(self, n_rows: int) -> None:
        assert 0 < n_rows <= self.n_batch, f"a batch of {n_rows} rows in a context that takes {self.n_batch}"
        self.gate.wait(10)
        time.sleep(self.step_seconds)
        if self.errors:
            raise self.errors.pop(0)
        if sum(map(len, self.memory)) + n_rows > self.n_ctx:
            raise BatchError("Context size has been exceeded.", no_cells=True)
        self._logits = []
        self.batches.append([])
        for row in range(n_rows):
            self._compute(row)

    def _compute(self, row: int) -> None:
        batch = self.batch
        id_seq, token = int(batch.sequences[row]), int(batch.tokens[row])
        history = self.memory[id_seq]
        assert batch.positions[row] == len(history), f"sequence {id_seq} continues at {len(history)}"
        history.append(token)
        self.batches[-1].append((id_seq, token))
        if batch.outputs[row]:
            logits = np.zeros(N_VOCAB, np.float32)
            ended = self.end_after is not None and len(history) >= self.end_after
            logits[EOS if ended else next_token(history)] = np.nan if id_seq in self.not_numbers else 10.0
            self._logits.append(logits)

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        assert n_outputs == len(self._logits), "not as many rows as the batch asked for"
        return np.stack(self._logits)

    def remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        assert stop == -1, "the fake only cuts ends off"
        if start > 0 and not self.can_remove_parts and start < len(self.memory[id_seq]):
            return False
        del self.memory[id_seq][start:]
        return True

    def close(self) -> None:
        self.closed = True


class FakeSampler:
    """Counts what it accepts."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self.accepted: list[int] = []
        self.closed = False

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def close(self) -> None:
        self.closed = True


class FakeSamplerFactory:
    """Takes the largest logit."""

    def __init__(self) -> None:
        self.opened: list[FakeSampler] = []
        self.error: Exception | None = None
        """Raised by `open`."""
        self.closed = False

    def open(self, params: SamplingParams, prompt: NDArray[np.int32]) -> FakeSampler:
        if self.error is not None:
            raise self.error
        self.opened.append(FakeSampler(params))
        return self.opened[-1]

    def sample(self, samplers: Sequence[FakeSampler], logits: NDArray[np.float32]) -> list[int]:
        tokens = [NO_TOKEN if np.isnan(row).any() else int(row.argmax()) for row in logits]
        for sampler, token in zip(samplers, tokens, strict=True):
            assert not sampler.closed, "sampled with a sampler that was given back"
            sampler.accept(token)
        return tokens

    def probs(self, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
        logprobs = row - np.log(np.exp(row).sum())
        top = np.argsort(-row, kind="stable")[:n_top]
        return TokenProbs(float(logprobs[token]), tuple((int(i), float(logprobs[i])) for i in top))

    def close(self) -> None:
        self.closed = True


INFO = ModelInfo(
    path="fake.gguf",
    desc="fake 1K F32",
    n_params=1000,
    n_bytes=4000,
    n_ctx_train=4096,
    n_embd=8,
    n_vocab=N_VOCAB,
    vocab_type=1,
    ftype="F32",
    metadata={"general.architecture": "fake", "general.name": "fake"},
    chat_templates={},
)


def fake_engine(
    decoder: FakeDecoder | None = None,
    *,
    vocab: FakeVocab | None = None,
    samplers: FakeSamplerFactory | None = None,
    queue_size: int = 1024,
    warmup: bool = False,
) -> Engine:
    """A real Engine over fakes; call it on the event loop that uses it, and await `close`."""
    decoder = decoder or FakeDecoder()
    return Engine(
        EngineConfig(queue_size=queue_size, warmup=warmup),
        INFO,
        vocab or FakeVocab(),
        decoder,
        samplers or FakeSamplerFactory(),
        n_slots=decoder.n_seq_max,
        library="fake",
    )
