"""Sampling: which tier a request's parameters allow, and the candidates that can still win. Pure numpy.

All tiers give the token that libllama's own chain gives for the same seed; they differ in what they read of the logits:

    GREEDY       the largest logit wins: one vectorised argmax over the rows of all slots
    CANDIDATES   the chain begins by cutting to the top k: the few that can survive are found by block maxima
    FULL         everything else reads the whole vocabulary, slots in parallel on a pool
"""

from __future__ import annotations

import enum
import math

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidRequest
from .task import SamplingParams

MAX_CANDIDATES = 1024
"""Above this, finding the candidates costs about as much as reading all."""

BLOCK_DEPTH = 64
"""Logits a block: block j of n holds the logits j, j + n, j + 2n, ... so that maxima are taken over whole rows."""

FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT32_MIN = float(np.finfo(np.float32).tiny)

RANGES = {
    "seed": (0, 2**32 - 1),
    "top_k": (-(2**31), 2**31 - 1),
    "min_keep": (0, 2**31 - 1),
    "repeat_last_n": (0, 2**31 - 1),
}
"""What libllama's integers hold and mean."""

NO_TOKEN = -1
"""LLAMA_TOKEN_NULL: what is sampled from logits that are not numbers."""


class Tier(enum.Enum):
    """How much of the logits a request needs to see."""

    GREEDY = enum.auto()
    CANDIDATES = enum.auto()
    FULL = enum.auto()


def check(params: SamplingParams, n_vocab: int) -> None:
    """Raise InvalidRequest for what libllama would abort on or silently turn into nonsense.

    libllama takes 32-bit numbers, so that is what must make sense: 1e-60 would arrive as 0, 2**32 + 1 as 1.
    """
    for name, (low, high) in RANGES.items():
        value = getattr(params, name)
        if not low <= value <= high:
            raise InvalidRequest(f"{name} must be between {low} and {high}, but got {value}")
    for name in ("temperature", "top_p", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty"):
        value = getattr(params, name)
        if not abs(value) <= FLOAT32_MAX:
            raise InvalidRequest(f"{name} must be a finite number, but got {value}")
    if params.repeat_penalty < FLOAT32_MIN:
        raise InvalidRequest(f"repeat_penalty must be greater than 0, but got {params.repeat_penalty}")
    for token, bias in params.logit_bias:
        if not 0 <= token < n_vocab:
            raise InvalidRequest(f"logit_bias: token {token} is not in the vocabulary of {n_vocab} tokens")
        if not bias <= FLOAT32_MAX:
            raise InvalidRequest(f"logit_bias: the bias of token {token} must be a number or -inf, but got {bias}")


def choose_tier(params: SamplingParams, n_special: int, n_vocab: int) -> Tier:
    """The cheapest tier that is exact. `n_special`: tokens whose logits the chain changes before it cuts."""
    if is_greedy(params) and not params.has_penalties and all(bias == -math.inf for _, bias in params.logit_bias):
        return Tier.GREEDY
    if len({token for token, _ in params.logit_bias}) < len(params.logit_bias):
        return Tier.FULL  # of several biases of a token libllama applies only the first to a few candidates
    n = n_candidates(params, n_special)
    return Tier.CANDIDATES if n <= min(MAX_CANDIDATES, n_vocab // BLOCK_DEPTH) else Tier.FULL


def is_greedy(params: SamplingParams) -> bool:
    """Whether the most likely token is taken, whatever truncation comes before."""
    return params.temperature <= 0 or params.top_k == 1


def n_candidates(params: SamplingParams, n_special: int) -> int:
    """How many of the largest logits can still be among the top k after `n_special` logits were changed."""
    if is_greedy(params):
        return 1 + n_special
    return params.top_k + n_special if params.top_k > 0 else MAX_CANDIDATES + 1


def argmax(logits: NDArray[np.float32]) -> list[int]:
    """The largest logit's token of each row of float32[n, n_vocab]. The first of equals wins, as in libllama.

    NO_TOKEN for a row that holds what is not a number: argmax finds that before all numbers.
    """
    tokens = logits.argmax(axis=1)
    tokens[np.isnan(logits[np.arange(len(tokens)), tokens])] = NO_TOKEN
    return [int(token) for token in tokens]


def argmax_without(row: NDArray[np.float32], banned: NDArray[np.int32]) -> int:
    """The largest logit's token among those not in `banned`: float32[n_vocab] -> token."""
    allowed = row.copy()
    allowed[banned] = -np.inf
    return int(allowed.argmax())


def top_tokens(logits: NDArray[np.float32], n: int) -> list[NDArray[np.int32]]:
    """For each row of float32[n_rows, n_vocab] the tokens, ascending, of at least its `n` largest logits.

    There are never fewer, and more only where blocks hold several large ones. Needs n <= n_vocab // BLOCK_DEPTH.
    """
    # row      [0 ..... n_blocks ..... 2 n_blocks ........ depth * n_blocks ... n_vocab)
    # maxima   over the depth values at j, j + n_blocks, j + 2 n_blocks, ...       tail: compared one by one
    n_rows, n_vocab = logits.shape
    n_blocks = n_vocab // BLOCK_DEPTH
    n_whole = n_blocks * BLOCK_DEPTH
    blocks = logits[:, :n_whole].reshape(n_rows, BLOCK_DEPTH, n_blocks)
    maxima = blocks.max(axis=1)
    # n blocks have a maximum of at least this, so at least n logits are not smaller
    thresholds = np.partition(maxima, n_blocks - n, axis=1)[:, n_blocks - n]
    return [_at_least(blocks[i], maxima[i], logits[i, n_whole:], n_whole, thresholds[i]) for i in range(n_rows)]


def _at_least(
    blocks: NDArray[np.float32],
    maxima: NDArray[np.float32],
    tail: NDArray[np.float32],
    n_whole: int,
    threshold: np.float32,
) -> NDArray[np.int32]:
    columns = np.flatnonzero(maxima >= threshold)
    depth, column = np.nonzero(blocks[:, columns] >= threshold)
    tokens = depth * blocks.shape[1] + columns[column]
    if len(tail):
        tokens = np.concatenate((tokens, n_whole + np.flatnonzero(tail >= threshold)))
    return np.asarray(tokens, np.int32)  # depth is the slow axis: ascending already


def log_softmax_at(row: NDArray[np.float32], tokens: NDArray[np.intp]) -> NDArray[np.float64]:
    """Log probabilities of some tokens under the softmax over the whole row."""
    largest = row.max()
    normaliser = float(largest) + math.log(float(np.exp(row - largest).sum(dtype=np.float64)))
    return row[tokens].astype(np.float64) - normaliser
