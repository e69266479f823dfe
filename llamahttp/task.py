"""Tasks and results: the whole vocabulary between the HTTP side and the engine.

Everything here is frozen and safe to hand from one thread to another. The engine deals in token ids and numbers only;
text, stop strings and JSON stay on the other side.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import LlamaHTTPError
from .histogram import EMPTY, Distribution
from .samplers import SAMPLERS

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
    dynatemp_range: float = 0.0
    """The temperature varies by this with the entropy of the candidates; 0 is off."""
    dynatemp_exponent: float = 1.0
    top_n_sigma: float = -1.0
    """Standard deviations of all logits that a token may lie below the largest; 0 or less is off."""
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    """Above 0.5 XTC is off: no two tokens can have that probability."""
    dry_multiplier: float = 0.0
    """0 is off."""
    dry_base: float = 1.75
    """Below 1 DRY is off."""
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    """1 or 2: temperature and Mirostat take the place of `samplers`."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    """Needs `adaptive_p` in `samplers`; below 0 it samples as without."""
    adaptive_decay: float = 0.9
    samplers: tuple[str, ...] = SAMPLERS
    """The chain's stages in order, of `samplers.CODES`."""
    backend_sampling: bool = False
    """Sample on the device where the engine is configured to, and where that gives the same tokens."""
    n_post_probs: int = 0
    """Keep the probabilities of this many of the tokens that the chain leaves; 0 is none."""

    @property
    def has_penalties(self) -> bool:
        changed = (self.repeat_penalty, self.frequency_penalty, self.presence_penalty) != (1.0, 0.0, 0.0)
        return changed and self.repeat_last_n != 0

    @property
    def has_dry(self) -> bool:
        return self.dry_multiplier != 0 and self.dry_base >= 1 and self.dry_penalty_last_n != 0


@dataclass(frozen=True, slots=True, eq=False)
class CompletionTask:
    """Continue `prompt` (int32[n_prompt], ids checked by the engine; of an empty one nothing is generated)."""

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
    """Reuse what the memory, RAM or disk already holds of this prompt."""
    n_cache_reuse: int = 0
    """Least length of moved parts of the prompt to reuse by shifting their positions; 0 is off."""
    n_keep: int = 0
    """Tokens at the start that a context shift keeps; -1 is the whole prompt."""
    n_discard: int = 0
    """Tokens that a context shift drops; 0 is half of those after `n_keep`."""
    id_slot: int = -1
    """Run in this slot; -1 takes the best one that is free."""
    priority: int = 0
    """Lower is served earlier and preempted later."""
    salt: str = ""
    """Only tasks of the same salt share a cache."""
    adapters: tuple[tuple[int, float], ...] = ()
    """LoRA adapters to apply: pairs (index in `EngineConfig.loras`, scale other than 0), by index."""
    adapters_from: int = 0
    """Position in the prompt from which on they are applied: `Engine.submit` finds it, for activated adapters."""
    turns: tuple[int, ...] = ()
    """Positions in the prompt, ascending, where a turn begins: later prompts are likely to differ from there on."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the request, which `/slots` shows; the engine only passes them on."""
    constraint: Callable[[], Any] | None = None
    """Makes what the answer has to obey, an `abc.Constraint`; called when the task is launched."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingTask:
    """Compute the embedding of each of `inputs` (int32[n], n >= 1, ids checked by the engine)."""

    inputs: tuple[NDArray[np.int32], ...]
    adapters: tuple[tuple[int, float], ...] = ()
    """As those of a CompletionTask, but for activated ones, which change no embedding."""


@dataclass(frozen=True, slots=True)
class TokenProbs:
    """Log probabilities at one generated token: its own, and the most likely ones, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


class Miss(enum.Enum):
    """Why no more of a prompt was reused. The value is what users see."""

    NONE = "none"
    """Nothing was left to reuse."""
    OFF = "off"
    """The request forbids it (`cache_prompt` false)."""
    NEW = "new"
    """Nothing cached begins with the same token, under the same salt and adapters."""
    DIVERGED = "diverged"
    """All that is cached differs from the prompt after the reused tokens."""
    CHECKPOINT = "checkpoint"
    """More tokens are equal, but the memory of this model cannot be cut there and no checkpoint is nearer."""
    STORAGE = "storage"
    """More is stored in RAM or on disk, but could not be brought back."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Prompt tokens that were not computed, by the tier that had them, and why they were not more."""

    resident: int = 0
    """In the context's memory, of another or an earlier request."""
    ram: int = 0
    disk: int = 0
    miss: Miss = Miss.NEW

    @property
    def n_cached(self) -> int:
        return self.resident + self.ram + self.disk


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
    cache: CacheUse = CacheUse()
    """Where the `n_cached` tokens came from."""


class StopReason(enum.Enum):
    """Why the engine ended a completion."""

    EOS = "eos"
    """An end-of-generation token, which is the last of the tokens delivered."""
    LIMIT = "limit"
    """`n_predict` reached."""
    CONTEXT = "context"
    """The slot's context is full."""
    EMPTY = "empty"
    """The prompt has no token to continue from."""
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
    is_truncated: bool = False
    """The context was shifted: the oldest tokens were dropped on the way."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The one bad end of a task."""

    error: LlamaHTTPError


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Inputs of an EmbeddingTask that one step has completed, in no particular order; the last ones end the task.

    Pairs (index of the input, float32[n_vectors, n_numbers]): one vector, or with the pooling NONE one a token.
    """

    vectors: tuple[tuple[int, NDArray[np.float32]], ...]
    is_last: bool


Result = PromptProgress | Tokens | Finished | Embedded | Failure


class SlotState(enum.Enum):
    """What a slot is doing."""

    IDLE = "idle"
    WAITING = "waiting"
    """Launched, and waiting: for a prefix that another slot computes, for free cells, or for the disk."""
    PROMPT = "prompt"
    GENERATING = "generating"


@dataclass(frozen=True, slots=True)
class SlotSnapshot:
    """A copy of one slot's state for `/slots`; the slot itself belongs to the engine thread.

    An idle slot tells of its last task, and nothing before the first.
    """

    id_slot: int
    n_ctx: int
    id_task: int = -1
    state: SlotState = SlotState.IDLE
    n_past: int = 0
    n_prompt: int = 0
    n_predicted: int = 0
    n_predict: int = -1
    sampling: SamplingParams | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    cache: CacheUse = CacheUse()
    n_preempted: int = 0
    """How often the task was preempted."""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine has done since it started, and what it holds now."""

    n_tasks: int = 0
    """Tasks launched; likewise those that failed."""
    n_failed: int = 0
    n_steps: int = 0
    n_rows: int = 0
    """Batch rows decoded in `n_steps` steps, which took `decode_ms`."""
    decode_ms: float = 0.0
    n_busy_slots: int = 0
    """Slots that had a task, summed over the steps."""
    n_tokens_max: int = 0
    """Most tokens that a sequence has had."""
    n_prompt: int = 0
    """Prompt tokens computed, in `prompt_ms` milliseconds of the requests' time; likewise generated ones."""
    prompt_ms: float = 0.0
    n_predicted: int = 0
    predicted_ms: float = 0.0
    n_embedded: int = 0
    """Tokens of inputs computed for embeddings and scores, in `n_embedding_steps` batches that took `embedding_ms`."""
    n_embedding_steps: int = 0
    embedding_ms: float = 0.0
    n_cached_resident: int = 0
    n_cached_ram: int = 0
    n_cached_disk: int = 0
    misses: tuple[tuple[Miss, int], ...] = ()
    """Launched tasks by why they reused no more."""
    n_preempted: int = 0
    n_evicted: int = 0
    """Cached sequences dropped from the context's memory to make room."""
    n_rebuilt: int = 0
    """Times the context was made anew after a fatal error."""
    n_cells: int = 0
    """KV cells in all, and of them in use, by running and by cached sequences."""
    n_cells_used: int = 0
    n_sequences: int = 0
    """Sequences in the context's memory, running or cached."""
    ram_bytes: int = 0
    """Held by the RAM tier, and on disk by the disk tier."""
    disk_bytes: int = 0
    step_seconds: Distribution = EMPTY
    """How long the `n_steps` steps took to decode; then how many batch rows they had."""
    step_rows: Distribution = EMPTY
    token_gaps: Distribution = EMPTY
    """Seconds between two tokens of the same answer."""


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """A copy of the engine's state, taken between two steps."""

    slots: tuple[SlotSnapshot, ...]
    n_waiting: int
    stats: EngineStats = EngineStats()
