"""Candidates: the few tokens of a vocabulary that can still win, found without sorting it. Pure numpy.

What is found is exact, or None where rounding could decide: then libllama has to look at all tokens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BLOCK_DEPTH = 32
"""Logits a block: block j of n holds the logits j, j + n, j + 2n, ... so that maxima are taken over whole rows."""

NO_TOKEN = -1
"""LLAMA_TOKEN_NULL: what is sampled from logits that are not numbers."""

LIKELY = (1e-3, 1e-4, 1e-5, 1e-6)
"""Tokens of at least one of these probabilities have `top_p` together, unless hardly any is likelier than others."""

N_STAND_INS = 2
"""Entries of a nucleus that are no tokens."""

MAX_NUCLEUS = 16384
"""Above this, the candidates here cost about as much as libllama's sort of all."""

SUM_ERROR = 6e-8
"""libllama adds float32 after float32: each addition may be wrong by this part of the sum, and always in the same
direction where many small ones are lost. With 128k tokens of a language model it is off by 0.0003, not at random."""

NUCLEUS_ERROR = 1e-6
"""Of cumulated probabilities after the same float32 additions as libllama's: only the exponentials differ."""

LEAST_MIN_P = 1e-20
"""Below this a `min_p` cuts nothing that counts."""

DRAW_ERROR = 1e-6
"""Of cumulated probabilities as numpy and libllama compute them: both exponentials err by 2e-7 at most."""


def are_numbers(logits: NDArray[np.float32]) -> bool:
    """Whether there are logits of which a token can be chosen: none is NaN or +inf, and some are not -inf."""
    return len(logits) > 0 and math.isfinite(logits.max())


def argmax(logits: NDArray[np.float32]) -> list[int]:
    """The largest logit's token of each row of float32[n, n_vocab]. The first of equals wins, as in libllama.

    NO_TOKEN for a row that holds what is not a number: argmax finds that before all numbers.
    """
    tokens: list[int] = logits.argmax(axis=1).tolist()
    return [NO_TOKEN if math.isnan(row[token]) else token for row, token in zip(logits, tokens, strict=True)]


def argmax_without(row: NDArray[np.float32], banned: NDArray[np.int32]) -> int:
    """The largest logit's token among those not in `banned`: float32[n_vocab] -> token."""
    allowed = row.copy()
    allowed[banned] = -np.inf
    return int(allowed.argmax())


def top_tokens(row: NDArray[np.float32], n: int) -> NDArray[np.int32]:
    """The tokens, ascending, of at least the `n` largest logits of float32[n_vocab].

    There are never fewer, and more only where blocks hold several large ones. Needs n <= n_vocab // BLOCK_DEPTH.
    Row after row, each while it is in the core's own cache, is faster than all rows of a step at once.
    """
    # row      [0 ..... n_blocks ..... 2 n_blocks ........ depth * n_blocks ... n_vocab)
    # maxima   over the depth values at j, j + n_blocks, j + 2 n_blocks, ...       tail: compared one by one
    n_blocks = len(row) // BLOCK_DEPTH
    n_whole = n_blocks * BLOCK_DEPTH
    maxima = row[:n_whole].reshape(BLOCK_DEPTH, n_blocks).max(axis=0)
    threshold = np.partition(maxima, n_blocks - n)[n_blocks - n]  # n blocks reach it, so at least n logits do
    starts = np.arange(0, n_whole, n_blocks)[:, np.newaxis]
    tokens = (starts + np.flatnonzero(maxima >= threshold)).ravel()  # ascending: the depth is the slow axis
    tokens = tokens[row[tokens] >= threshold]
    if n_whole < len(row):
        tokens = np.concatenate((tokens, n_whole + np.flatnonzero(row[n_whole:] >= threshold)))
    return tokens.astype(np.int32)


def distinct(*parts: NDArray[np.int32]) -> NDArray[np.int32]:
    """The different tokens of all parts, ascending. `np.unique` takes 30 times as long for 4096."""
    tokens = np.sort(np.concatenate(parts))
    is_first = np.ones(len(tokens), np.bool_)
    np.not_equal(tokens[1:], tokens[:-1], out=is_first[1:])
    return np.asarray(tokens[is_first], np.int32)


def log_softmax_at(row: NDArray[np.float32], tokens: NDArray[np.intp]) -> NDArray[np.float64]:
    """Log probabilities of some tokens under the softmax over the whole row."""
    largest = row.max()
    normaliser = float(largest) + math.log(float(np.exp(row - largest).sum(dtype=np.float64)))
    return row[tokens].astype(np.float64) - normaliser


class Scratch:
    """Room for numbers of one row: to allocate it anew would cost page faults each time."""

    def __init__(self, n_vocab: int) -> None:
        self.row = np.zeros(n_vocab, np.float32)
        """Logits after the first stages of a chain; the functions here do not touch it."""
        self.weights = np.zeros(n_vocab, np.float32)
        self.sums = np.zeros(n_vocab, np.float32)

    def weigh(self, row: NDArray[np.float32]) -> float:
        """Fill `weights` with exp(row - largest). Gives the largest: not finite where the logits are no numbers."""
        largest = row.max()
        if math.isfinite(largest):
            np.subtract(row, largest, out=self.weights)
            np.exp(self.weights, out=self.weights)
        return float(largest)


def by_logit(row: NDArray[np.float32], scratch: Scratch) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """All tokens, best first, with their logits."""
    tokens = np.argsort(np.negative(row, out=scratch.weights)).astype(np.int32)
    return tokens, row[tokens]


def at_least(row: NDArray[np.float32], distance: float) -> NDArray[np.int32]:
    """The tokens, ascending, that lie at most `distance` below the largest logit."""
    largest = float(row.max())
    slack = 1e-5 * (abs(largest) + abs(distance))  # of float32
    return np.flatnonzero(row >= np.float32(largest - distance - slack)).astype(np.int32)


def nucleus(
    row: NDArray[np.float32], top_p: float, min_p: float, scratch: Scratch
) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """The tokens that `top_p`, or `min_p` after it, can leave, best first, with their logits.

    Two that are no tokens stand behind them: an unlikely one, at which `min_p` ends, and one with the weight of all
    others, so that libllama's softmax over these few gives what it gives over all. Neither survives `top_p` or `min_p`.

    None if the cut is within the error of what is computed here, or if the tokens are too many. libllama's sum over all
    is repeated addition by addition, but not where all that `min_p` leaves is less than `top_p` by any sum.
    """
    largest = scratch.weigh(row)
    if not math.isfinite(largest):
        return None
    weights = scratch.weights
    tokens = _nucleus_tokens(weights, top_p, min_p)
    if tokens is None:
        return None
    tokens = tokens[np.argsort(-row[tokens])]
    few = weights[tokens]
    total = float(weights.sum())
    if min_p < LEAST_MIN_P or float(few.sum()) > (top_p - SUM_ERROR * len(weights)) * total:
        total = float(np.add.accumulate(weights, out=scratch.sums)[-1])
        parts = np.add.accumulate(few / np.float32(total))
        if bool((np.abs(parts - top_p) <= NUCLEUS_ERROR).any()):
            return None
    rest = max(total - float(np.add.accumulate(few)[-1]), 1e-30 * total)
    ends = np.array([largest - 60, largest + math.log(rest)], np.float32)
    return np.append(tokens, (NO_TOKEN, NO_TOKEN)).astype(np.int32), np.append(row[tokens], ends)


def _nucleus_tokens(weights: NDArray[np.float32], top_p: float, min_p: float) -> NDArray[np.intp] | None:
    """The tokens that min_p can leave; without it some that have more than `top_p` together. None if too many."""
    if min_p >= LEAST_MIN_P:
        tokens = np.flatnonzero(weights >= np.float32(0.999 * min_p))
        return tokens if len(tokens) <= MAX_NUCLEUS else None
    total = float(weights.sum())
    needed = top_p + SUM_ERROR * len(weights)
    for limit in LIKELY:
        tokens = np.flatnonzero(weights >= np.float32(limit * total))
        if len(tokens) > MAX_NUCLEUS:
            return None
        if float(weights[tokens].sum()) > needed * total:
            return tokens
    return None


def draw(row: NDArray[np.float32], position: float, scratch: Scratch) -> int | None:
    """The token at `position`, within [0, 1), of all probabilities side by side in the order of tokens.

    None if it is so near a border that rounding decides, or the logits are not numbers.
    """
    # weights    [ block 0 | block 1 | ..... | rest )        cumulated by block, then within the one that is hit
    if not math.isfinite(scratch.weigh(row)):
        return None
    weights = scratch.weights
    n_blocks = len(weights) // 256
    blocks = weights[: n_blocks * 256].reshape(n_blocks, 256).sum(axis=1, dtype=np.float64)
    ends = np.append(blocks, weights[n_blocks * 256 :].sum(dtype=np.float64)).cumsum()
    total = float(ends[-1])
    target = position * total
    block = int(ends.searchsorted(target))
    before = float(ends[block - 1]) if block else 0.0
    inner = before + weights[block * 256 : (block + 1) * 256].astype(np.float64).cumsum()
    i = int(inner.searchsorted(target))
    error = DRAW_ERROR * total
    if i == len(inner) or inner[i] - target < error or target - (inner[i - 1] if i else before) < error:
        return None
    return block * 256 + i
