"""Tasks and results: the whole vocabulary between the HTTP side and the engine.

Everything here is frozen and safe to hand from one thread to another. The engine deals in token ids and numbers only;
text, stop strings and JSON stay on the other side.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import LlamaHTTPError

RANDOM_SEED = 0xFFFFFFFF
"""The seed that asks for a different stream of random numbers each time (LLAMA_DEFAULT_SEED)."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen; names and defaults are llama-server's (`params_sampling`)."""

    seed: int = RANDOM_SEED
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    min_keep: int = 0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs (token id, value added to its logit); -inf forbids the token."""
    ignore_eos: bool = False
    """Forbid every end-of-generation token."""

    @property
    def has_penalties(self) -> bool:
        changed = (self.repeat_penalty, self.frequency_penalty, self.presence_penalty) != (1.0, 0.0, 0.0)
        return changed and self.repeat_last_n != 0


@dataclass(frozen=True, slots=True, eq=False)
class CompletionTask:
    """Continue `prompt` (int32[n_prompt], n_prompt >= 1, ids checked by the engine)."""

    prompt: NDArray[np.int32]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    n_predict: int = -1
    """Most tokens to generate; -1 is no limit but the context."""
    n_probs: int = 0
    """Log probabilities (before sampling) of this many most likely tokens go with every token; 0 is none."""
    stepwise: bool = True
    """Deliver tokens as they come. False delivers all of them at the end, which costs less."""
    progress: bool = False
    """Also deliver `PromptProgress` after each part of the prompt."""
    cache_prompt: bool = True
    """Reuse what a slot's memory already holds of this prompt."""
    id_slot: int = -1
    """Run in this slot; -1 takes the best one that is free."""


@dataclass(frozen=True, slots=True)
class TokenProbs:
    """Log probabilities at one generated token: its own, and the most likely ones, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


class Timings(NamedTuple):
    """What a request cost so far. `prompt_ms` ends, and `predicted_ms` begins, with the first token.

    A tuple, as `Tokens` is: one of each is made for every token, and a frozen dataclass costs four times as much.
    """

    n_cached: int
    n_prompt: int
    """Prompt tokens that were computed, not counting `n_cached`."""
    prompt_ms: float
    n_predicted: int
    predicted_ms: float


class StopReason(enum.Enum):
    """Why the engine ended a completion."""

    EOS = "eos"
    """An end-of-generation token, which is the last of the tokens delivered."""
    LIMIT = "limit"
    """`n_predict` reached."""
    CONTEXT = "context"
    """The slot's context is full."""
    CALLER = "caller"
    """The stream's reader asked for it (`ResultStream.stop`), for a stop string or a limit of its own."""


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """A part of the prompt has been computed. `n_done` counts cached tokens too."""

    n_prompt: int
    n_cached: int
    n_done: int
    ms: float


class Tokens(NamedTuple):
    """New tokens, in order. `probs` is empty or has one entry a token."""

    ids: tuple[int, ...]
    timings: Timings
    probs: tuple[TokenProbs, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The one good end of a completion."""

    reason: StopReason
    timings: Timings
    id_slot: int
    n_past: int
    """Tokens of this conversation that the slot's memory now holds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The one bad end of a task."""

    error: LlamaHTTPError


Result = PromptProgress | Tokens | Finished | Failure


class SlotState(enum.Enum):
    """What a slot is doing."""

    IDLE = "idle"
    PROMPT = "prompt"
    GENERATING = "generating"


@dataclass(frozen=True, slots=True)
class SlotSnapshot:
    """A copy of one slot's state for `/slots`; the slot itself belongs to the engine thread."""

    id_slot: int
    id_task: int
    state: SlotState
    n_ctx: int
    n_past: int
    n_prompt: int
    n_predicted: int
    n_predict: int
    sampling: SamplingParams | None


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """A copy of the engine's state, taken between two steps."""

    slots: tuple[SlotSnapshot, ...]
    n_waiting: int
