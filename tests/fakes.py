"""Fakes of the Protocols in `llamahttp.abc`: an engine without a model, exact about what a real context demands.

The fake model continues a text with a token that depends on every token before it, so a token that leaks from one
conversation into another, a gap or a repetition changes everything that follows.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamahttp.abc import BatchError, Constraint, Embedder, FimTokens, ModelInfo
from llamahttp.candidates import NO_TOKEN
from llamahttp.config import EngineConfig
from llamahttp.engine import Engine
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
    sep = -1
    fim = FimTokens()
    adds_bos = adds_eos = adds_sep = False
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
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.outputs = np.zeros(capacity, np.int8)
        self.sequences = np.zeros(capacity, np.int32)

    def set_sequence(self, start: int, stop: int, id_seq: int) -> None:
        self.sequences[start:stop] = id_seq


class FakeDecoder:
    """A unified KV cache of `n_ctx` cells that refuses gaps, and a model that is `next_token`.

    A cell is an object that holds [token, position]; sequences that were copied share cells, as in libllama.
    """

    def __init__(
        self,
        n_ctx: int = 4096,
        n_slots: int = 4,
        n_batch: int = 256,
        n_ubatch: int = 64,
        *,
        n_spare: int = 0,
        kv_unified: bool = True,
        can_cut: bool = True,
    ) -> None:
        self.n_ctx = self.n_ctx_seq = n_ctx
        self.n_slots, self.n_seq_max = n_slots, n_slots + n_spare
        self.n_batch, self.n_ubatch = n_batch, n_ubatch
        self.kv_unified, self.can_cut, self.can_shift = kv_unified, can_cut, can_cut
        self.n_cells = n_ctx if kv_unified else 0
        self.n_tile = 1
        self.fingerprint = "fake"
        self.batch = FakeBatch(n_batch)
        self.cells: list[list[list[int]]] = [[] for _ in range(self.n_seq_max)]
        """Of each sequence its cells, in the order of their positions."""
        self.states = [0] * self.n_seq_max
        """Of each sequence how many tokens the part of its memory has seen that cannot be cut."""
        self.batches: list[list[tuple[int, int]]] = []
        """(sequence, token) of every row of every decode."""
        self.errors: list[Exception] = []
        """Raised by the next decodes, one each."""
        self.poison: int | None = None
        """A token that no batch survives."""
        self.step_seconds = 0.0
        self.not_numbers: set[int] = set()
        """Tokens after which the logits are not numbers."""
        self.end_after: int | None = None
        """Say EOS once a sequence has this many tokens."""
        self.adapters: list[tuple[tuple[int, float], ...]] = []
        """What `set_adapters` was called with."""
        self.copy_error: Exception | None = None
        """Raised by `copy`."""
        self.restores = True
        """Whether there is ever room for a saved state."""
        self.n_rebuilt = 0
        self.closed = False
        self.gate = threading.Event()
        """Cleared, it holds the engine thread inside decode."""
        self.gate.set()
        self._logits: list[NDArray[np.float32]] = []

    @property
    def memory(self) -> list[list[int]]:
        """Of each sequence its tokens."""
        return [[cell[0] for cell in cells] for cells in self.cells]

    @property
    def n_used(self) -> int:
        return len({id(cell) for cells in self.cells for cell in cells})

    def decode(self, n_rows: int) -> None:
        assert 0 < n_rows <= self.n_batch, f"a batch of {n_rows} rows in a context that takes {self.n_batch}"
        self.gate.wait(10)
        time.sleep(self.step_seconds)
        if self.errors:
            raise self.errors.pop(0)
        if self.poison is not None and self.poison in self.batch.tokens[:n_rows]:
            raise BatchError("Compute error.", fatal=True)
        if self.n_cells and self.n_used + n_rows > self.n_cells:
            raise BatchError("Context size has been exceeded.", no_cells=True)
        self._logits = []
        self.batches.append([])
        for row in range(n_rows):
            self._compute(row)

    def _compute(self, row: int) -> None:
        batch = self.batch
        id_seq, token = int(batch.sequences[row]), int(batch.tokens[row])
        positions = [position for _, position in self.cells[id_seq]]
        assert positions == list(range(batch.positions[row])), f"sequence {id_seq} has gaps or continues elsewhere"
        assert self.states[id_seq] == len(positions), f"the state of sequence {id_seq} is not at its end"
        self.cells[id_seq].append([token, len(positions)])
        self.states[id_seq] += 1
        self.batches[-1].append((id_seq, token))
        if batch.outputs[row]:
            history = self.memory[id_seq]
            logits = np.zeros(N_VOCAB, np.float32)
            ended = self.end_after is not None and len(history) >= self.end_after
            logits[EOS if ended else next_token(history)] = np.nan if token in self.not_numbers else 10.0
            self._logits.append(logits)

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        assert n_outputs == len(self._logits), "not as many rows as the batch asked for"
        return np.stack(self._logits)

    def remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        if 0 < start < self.least_cut(id_seq):
            return False
        cells = self.cells[id_seq]
        cells[:] = [cell for cell in cells if cell[1] < start or cell[1] >= stop > -1]
        self.states[id_seq] = len(cells) if self.can_cut else min(self.states[id_seq], len(cells))
        return True

    def least_cut(self, id_seq: int) -> int:
        return 0 if self.can_cut else self.states[id_seq]

    def copy(self, source: int, target: int) -> None:
        if self.copy_error is not None:
            raise self.copy_error
        cells = self.cells[source]
        self.cells[target] = list(cells) if self.kv_unified else [list(cell) for cell in cells]
        self.states[target] = self.states[source]

    def append(self, source: int, target: int) -> None:
        assert self.kv_unified
        self.cells[target] += self.cells[source]
        self.states[target] = len(self.cells[target])

    def shift(self, id_seq: int, start: int, stop: int, delta: int) -> None:
        assert self.can_shift and delta < 0
        moved = [cell for cell in self.cells[id_seq] if start <= cell[1] < stop]
        others = {id(cell) for i, cells in enumerate(self.cells) if i != id_seq for cell in cells}
        assert not others & set(map(id, moved)), "shifted another's cells"
        for cell in moved:
            cell[1] += delta

    def saved_size(self, id_seq: int) -> int:
        return 8 * len(self.cells[id_seq])

    def save(self, id_seq: int, *, partial: bool = False) -> bytes:
        return np.asarray(self.cells[id_seq], np.int32).tobytes()

    def restore(self, id_seq: int, state: bytes, *, partial: bool = False) -> bool:
        cells = np.frombuffer(state, np.int32).reshape(-1, 2).tolist()
        if partial:
            assert self.cells[id_seq][: len(cells)] == cells, "a checkpoint of something else"
            self.states[id_seq] = len(cells)
            return True
        self.cells[id_seq], self.states[id_seq] = [], 0
        if not self.restores or (self.n_cells and self.n_used + len(cells) > self.n_cells):
            return False
        self.cells[id_seq], self.states[id_seq] = cells, len(cells)
        return True

    def set_samplers(self, samplers: Mapping[int, object]) -> None:
        self.samplers = dict(samplers)

    def sampled(self, ids: Sequence[int]) -> list[int | None]:
        return [None] * len(ids)

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        self.adapters.append(tuple(adapters))

    def rebuild(self) -> None:
        self.n_rebuilt += 1
        self.cells = [[] for _ in range(self.n_seq_max)]
        self.states = [0] * self.n_seq_max

    def close(self) -> None:
        self.closed = True


class FakeSampler:
    """Knows whether it is closed."""

    def __init__(self, params: SamplingParams, constraint: Constraint | None = None) -> None:
        self.params = params
        self.constraint = constraint
        self.closed = False
        self.for_device: object | None = None
        """What `FakeDecoder.set_samplers` gets."""

    def close(self) -> None:
        self.closed = True


class FakeSamplerFactory:
    """Takes the largest logit, of those that are allowed."""

    def __init__(self) -> None:
        self.opened: list[FakeSampler] = []
        self.prepared: list[SamplingParams] = []
        self.error: Exception | None = None
        """Raised by `open`."""
        self.closed = False

    def prepare(self, params: SamplingParams) -> None:
        self.prepared.append(params)

    def open(
        self, params: SamplingParams, prompt: NDArray[np.int32], constraint: Constraint | None = None
    ) -> FakeSampler:
        if self.error is not None:
            raise self.error
        self.opened.append(FakeSampler(params, constraint))
        return self.opened[-1]

    def sample(
        self, samplers: Sequence[FakeSampler], logits: NDArray[np.float32], given: Sequence[int | None] = ()
    ) -> list[int]:
        assert not any(sampler.closed for sampler in samplers), "sampled with a sampler that was given back"
        tokens = [self._sample(sampler, row) for sampler, row in zip(samplers, logits, strict=True)]
        return [mine if his is None else his for mine, his in zip(tokens, given or tokens, strict=True)]

    def _sample(self, sampler: FakeSampler, row: NDArray[np.float32]) -> int:
        constraint = sampler.constraint
        if np.isnan(row).any():
            return NO_TOKEN
        if constraint is None:
            return int(row.argmax())
        token = constraint.forced()
        if token is None:
            allowed = constraint.mask()
            token = int(np.where(allowed, row, -np.inf).argmax()) if allowed.any() else NO_TOKEN
        if token != NO_TOKEN:
            constraint.accept(token)
        return token

    def probs(self, sampler: FakeSampler, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
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
    embedder: Embedder | None = None,
    loras: int = 0,
    warmup: bool = False,
    cache_ram: int = 0,
    **config: Any,
) -> Engine:
    """A real Engine over fakes; call it on the event loop that uses it, and await `close`. `config` as EngineConfig."""
    decoder = decoder or FakeDecoder()
    adapters = tuple((Path(f"adapter-{i}.gguf"), 0.0) for i in range(loras))
    return Engine(
        EngineConfig(warmup=warmup, cache_ram=cache_ram, loras=adapters, **config),
        INFO,
        vocab or FakeVocab(),
        decoder,
        samplers or FakeSamplerFactory(),
        n_slots=decoder.n_slots,
        embedder=embedder,
        library_version="fake",
    )
