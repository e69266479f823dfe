"""Sampling: what a request's parameters ask of libllama's chain, and how few tokens it may begin with. Pure.

All tiers give the token that libllama's own chain gives for the same seed; they differ in what they read of the logits:

    GREEDY       the largest logit wins: one vectorised argmax over the rows of all slots
    CANDIDATES   the chain's first cut is to the top k: the few that can survive are found by block maxima
    CHANGED      the same where the chain changes so many logits before that they are changed first
    FLOOR        its first cut is min_p: those near enough to the largest are found by one comparison
    NUCLEUS      its first cut is top_p: weighed and found in numpy, unless rounding could decide
    DRAW         it cuts nothing: drawn in numpy, unless rounding could decide
    FULL         everything else reads the whole vocabulary, slots in parallel on a pool

Before the first cut a chain changes a few logits (biases, penalties, DRY) and scales all. From CHANGED on, libllama is
only asked about those few, numpy scales the others, and the rest of the chain follows.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .candidates import BLOCK_DEPTH, distinct
from .errors import InvalidRequest
from .samplers import CODES
from .task import SamplingParams

MAX_CANDIDATES = 1024
"""Above this, finding the candidates costs about as much as reading all."""

MAX_INFILL = 128
"""Candidates of `infill`, which compares the texts of each with each."""

COLDEST = 1e-30
"""A temperature below this is 0: logits divided by it would not be numbers."""

FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT32_MIN = float(np.finfo(np.float32).tiny)

INTEGERS = {
    "seed": (0, 2**32 - 1),
    "top_k": (-(2**31), 2**31 - 1),
    "min_keep": (0, 2**31 - 1),
    "repeat_last_n": (0, 2**31 - 1),
    "dry_allowed_length": (0, 2**31 - 1),
    "dry_penalty_last_n": (0, 2**31 - 1),
    "mirostat": (0, 2),
}
"""What libllama's integers hold and mean."""

NUMBERS = {
    **dict.fromkeys(("temperature", "dynatemp_range", "dynatemp_exponent", "top_p", "min_p"), FLOAT32_MAX),
    **dict.fromkeys(("top_n_sigma", "typical_p", "xtc_probability", "xtc_threshold"), FLOAT32_MAX),
    **dict.fromkeys(("dry_base", "mirostat_tau", "mirostat_eta", "adaptive_target", "adaptive_decay"), FLOAT32_MAX),
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "dry_multiplier"), 1e30),
}
"""Largest magnitude of each number. What is subtracted a million times must stay finite: sorting by what is not a
number can leave libllama's memory."""

REPEAT_PENALTIES = (1e-6, 1e6)

LOOKS_BACK = frozenset({"penalties", "dry"})
"""Samplers that change the logits of tokens that have come before."""

SHIFTS_RANKS = frozenset({"typ_p", "xtc", "infill"})
"""Samplers that may remove the largest logit."""


class Tier(enum.Enum):
    """How much of the logits a request needs to see."""

    GREEDY = enum.auto()
    CANDIDATES = enum.auto()
    CHANGED = enum.auto()
    FLOOR = enum.auto()
    NUCLEUS = enum.auto()
    DRAW = enum.auto()
    FULL = enum.auto()


@dataclass(frozen=True, slots=True)
class Plan:
    """The tier that a chain's first cut allows."""

    tier: Tier
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    n_before: int = 0
    """Stages before that cut, biases among them."""
    temperatures: tuple[float, ...] = ()
    """Applied by those stages."""
    changes_later: bool = False
    """Penalties or DRY come behind that cut."""
    is_sorted: bool = False
    """FULL: what follows begins by sorting all tokens, which numpy does faster."""


FULL = Plan(Tier.FULL)
SORTED = Plan(Tier.FULL, is_sorted=True)


def check(params: SamplingParams, n_vocab: int) -> None:
    """Raise InvalidRequest for what libllama would abort on or silently turn into nonsense.

    libllama takes 32-bit numbers, so that is what must make sense: 1e-60 would arrive as 0, 2**32 + 1 as 1.
    """
    for name, (low, high) in INTEGERS.items():
        value = getattr(params, name)
        if not low <= value <= high:
            raise InvalidRequest(f"{name} must be between {low} and {high}, but got {value}")
    for name, most in NUMBERS.items():
        value = getattr(params, name)
        if not math.isfinite(value) or abs(value) > FLOAT32_MAX:
            raise InvalidRequest(f"{name} must be a finite number, but got {value}")
        if abs(value) > most:
            raise InvalidRequest(f"{name} must be between {-most:g} and {most:g}, but got {value}")
    _check_repeat_penalty(params.repeat_penalty)
    for token, bias in params.logit_bias:
        if not 0 <= token < n_vocab:
            raise InvalidRequest(f"logit_bias: token {token} is not in the vocabulary of {n_vocab} tokens")
        if not bias <= FLOAT32_MAX:
            raise InvalidRequest(f"logit_bias: the bias of token {token} must be a number or -inf, but got {bias}")
    _check_samplers(params)


def _check_repeat_penalty(value: float) -> None:
    if not value >= FLOAT32_MIN:
        raise InvalidRequest(f"repeat_penalty must be greater than 0, but got {value}")
    low, high = REPEAT_PENALTIES
    if not low <= value <= high:
        raise InvalidRequest(f"repeat_penalty must be between {low:g} and {high:g}, but got {value}")


def _check_samplers(params: SamplingParams) -> None:
    unknown = set(params.samplers) - CODES.keys()
    if unknown:
        raise InvalidRequest(f"there is no sampler {min(unknown)!r}")
    names = stages(params)
    if "infill" not in names:
        return
    if not 0 < params.top_k <= MAX_INFILL or "top_k" not in names[: names.index("infill")]:
        raise InvalidRequest(f"the sampler infill needs top_k before it, with a top_k of 1 to {MAX_INFILL}")


def stages(params: SamplingParams) -> tuple[str, ...]:
    """The samplers that change anything, in order, without the last one, which chooses."""
    if params.mirostat:
        return ("temperature",)
    on = {
        "penalties": params.has_penalties,
        "dry": params.has_dry,
        "top_n_sigma": params.top_n_sigma > 0,
        "top_k": params.top_k > 0,
        "typ_p": params.typical_p < 1,
        "top_p": params.top_p < 1,
        "min_p": params.min_p > 0,
        "xtc": params.xtc_probability > 0 and params.xtc_threshold <= 0.5,
        "adaptive_p": False,
    }
    return tuple(name for name in params.samplers if on.get(name, True))


def plan(params: SamplingParams, n_vocab: int) -> Plan:
    """The cheapest tier that is exact, for `params` whose biases are of different tokens."""
    names = stages(params)
    has_biases = any(bias != -math.inf for _, bias in params.logit_bias)
    if is_greedy(params) and not (has_biases or LOOKS_BACK & set(names)):
        return Plan(Tier.GREEDY)
    n = 0 if params.mirostat else next((i for i in range(len(names)) if _cuts(params, names[i])), len(names))
    return replace(
        _at_first_cut(params, names[n:], n_vocab),
        n_before=bool(params.logit_bias) + n,
        temperatures=(params.temperature,) * names[:n].count("temperature"),
        changes_later=bool(LOOKS_BACK & set(names[n:])),
    )


def _cuts(params: SamplingParams, name: str) -> bool:
    """Whether a stage does more than to change a few logits or scale all."""
    if name == "temperature":
        return params.dynatemp_range > 0 or params.temperature <= COLDEST
    return name not in LOOKS_BACK


def _at_first_cut(params: SamplingParams, names: tuple[str, ...], n_vocab: int) -> Plan:
    """The plan for a chain whose first cut is names[0], if there is one."""
    if is_greedy(params):
        return _candidates(1, n_vocab)
    if params.mirostat:
        return SORTED
    if not names:
        return FULL if params.n_post_probs or "adaptive_p" in params.samplers else Plan(Tier.DRAW)
    if names[0] == "top_k":
        return _candidates(params.top_k, n_vocab)
    if names[0] == "typ_p":
        return SORTED
    if params.min_keep > 1:
        return FULL
    if names[0] == "min_p":
        return Plan(Tier.FLOOR, min_p=params.min_p)
    if names[0] == "top_p" and params.top_p > 0:
        return Plan(Tier.NUCLEUS, top_p=params.top_p, min_p=params.min_p if names[1:2] == ("min_p",) else 0.0)
    return FULL


def _candidates(top_k: int, n_vocab: int) -> Plan:
    return Plan(Tier.CANDIDATES, top_k=top_k) if top_k <= max_candidates(n_vocab) else FULL


def max_candidates(n_vocab: int) -> int:
    """How many of the largest logits can be found by block maxima, and cheaply."""
    return min(MAX_CANDIDATES, n_vocab // BLOCK_DEPTH)


def is_greedy(params: SamplingParams) -> bool:
    """Whether the most likely token is taken, whatever truncation comes before."""
    names = stages(params)
    if SHIFTS_RANKS & set(names):
        return False
    is_cold = "temperature" in names and params.temperature <= COLDEST
    if is_cold and (params.dynatemp_range <= 0 or params.mirostat):
        return True
    return "top_k" in names and params.top_k == 1


ON_DEVICE = frozenset({"penalties", "top_k", "top_p", "min_p", "temperature"})
"""Samplers that libllama can compute within its graph, to the same end."""


def is_for_device(params: SamplingParams, n_vocab: int) -> bool:
    """Whether libllama, sampling within its graph, gives the tokens that it gives on the host.

    Not there: what top_k leaves is in no order, so that the draw takes another token unless top_p sorts it; a dynamic
    temperature takes what was cut for what is likely; and a top_k beyond the vocabulary ends the process.
    """
    names = stages(params)
    biased = [token for token, _ in params.logit_bias]
    is_plain = not (params.mirostat or params.n_post_probs or "adaptive_p" in params.samplers)
    is_sorted = "top_k" not in names or "top_p" in names[names.index("top_k") :] or is_greedy(params)
    return (
        params.backend_sampling
        and is_plain
        and is_sorted
        and ON_DEVICE.issuperset(names)
        and len(set(names)) == len(names)
        and len(set(biased)) == len(biased)
        and params.dynatemp_range <= 0
        and params.min_keep <= 1
        and params.top_k <= n_vocab
    )


class History:
    """The last tokens of a prompt and its answer, as many as `n_most`."""

    # buffer   [0 ..... start)  forgotten     [start ..... end)  the last n_most tokens     [end ..... len)  free

    def __init__(self, prompt: NDArray[np.int32], n_most: int) -> None:
        self._n_most = n_most
        kept = prompt[len(prompt) - min(len(prompt), n_most) :]
        self._end = len(kept)
        self._buffer = np.empty(max(64, 2 * self._end), np.int32)
        self._buffer[: self._end] = kept

    def append(self, token: int) -> None:
        if self._end == len(self._buffer):
            kept = self.last(self._n_most).copy()
            self._buffer = np.empty(max(64, 2 * len(kept)), np.int32)
            self._buffer[: len(kept)] = kept
            self._end = len(kept)
        self._buffer[self._end] = token
        self._end += 1

    def last(self, n: int) -> NDArray[np.int32]:
        """The last `n` tokens, or all there are; a view."""
        return self._buffer[max(0, self._end - min(n, self._n_most)) : self._end]

    def followers(self, n: int) -> NDArray[np.int32]:
        """What followed the very last token each time that it came among the last `n`: all that DRY can penalise."""
        tokens = self.last(n)
        return tokens[1:][tokens[:-1] == tokens[-1]] if len(tokens) else tokens


def changed_tokens(
    params: SamplingParams, names: tuple[str, ...], history: History, biased: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The tokens, ascending, whose logits biases, penalties or DRY change at the next step. `names`: the stages."""
    parts = [biased]
    if "penalties" in names:
        parts.append(history.last(params.repeat_last_n))
    if "dry" in names:
        n = params.dry_penalty_last_n
        parts.append(history.followers(n) if params.dry_allowed_length > 0 else history.last(n))
    return distinct(*parts)
