"""Schedule: which tokens the next step computes. Pure: takes numbers, returns a plan, touches nothing."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

KindT = TypeVar("KindT", bound=Hashable)

SMOOTHING = 0.2
"""Weight of the last step in the mean of what a step takes."""

GROWTH, SHRINK = 1.1, 0.7
"""By how much a step may take more, or less, than the one before: one that was disturbed shall not decide."""

FEW = 16
"""Prompt tokens that make a step hardly longer, and that it takes however slow the machine is."""

GENERATION_SHARE = 3
"""Where a step without any prompt already takes long, one with prompts takes at most so many times as long."""


@dataclass(frozen=True, slots=True)
class WaitingPrompt:
    """A slot whose prompt is not evaluated to its end."""

    id_slot: int
    n_left: int
    n_wanted: int
    """Tokens until it is complete, or until what others wait for is computed."""
    n_to_mark: int | None = None
    """Tokens until the part must end, if that is earlier: a checkpoint is taken there, or another slot waits for it."""
    is_far: bool = False
    """Its attention costs more than all else: it is computed in whole tiles, where there are any."""
    n_passed: int = 0
    """Tokens of other prompts that were computed while this one waited."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class PromptPart:
    """The next `n_take` tokens of a slot's prompt; `is_last` when they complete it."""

    id_slot: int
    n_take: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the CPU's attention wants far prompts of separate streams: `n_rows` of a stream at once, or it computes one
    row after the other. Rows of several streams are computed together, `n_together` at most, if each has as many.

    libllama first computes as many rows of each stream as the shortest has: beside slots that generate that is one.
    """

    n_rows: int
    n_together: int
    n_with_others: int = 0
    """1 beside slots that generate: what goes with their rows, so that whole tiles are left."""

    @classmethod
    def beside(cls, n_generating: int, n_tile: int, n_ubatch: int, n_batch: int) -> Tiling | None:
        """The tiles of a decoder beside so many rows; None where rows and streams may be mixed, or a batch has no room
        for two."""
        if n_tile == 1 or n_ubatch < n_tile or n_batch - n_generating < 2 * (n_tile + 1):
            return None
        return cls(n_tile, n_ubatch, n_with_others=int(n_generating > 0))

    @property
    def least(self) -> int:
        """The shortest part of a prompt that is computed as a whole tile."""
        return self.n_rows + self.n_with_others

    def take(self, prompt: WaitingPrompt, budget: int) -> int:
        """Tokens of a prompt for a step that has room for `budget`: the most that leave no piece shorter than a tile,
        neither in a physical batch nor of the prompt."""
        most = min(prompt.n_left, max(budget, self.least))
        n = next((n for n in range(most, self.least - 1, -1) if self._is_whole(n, prompt.n_left - n)), most)
        if 0 < prompt.n_left - n < self.least:
            n = prompt.n_left  # less than two tiles: a step of its own for the rest would take longer
        return n if prompt.n_to_mark is None else min(n, prompt.n_to_mark)

    def _is_whole(self, n: int, n_left: int) -> bool:
        n_last = (n - self.n_with_others) % self.n_together
        return (n_last == 0 or n_last >= self.n_rows) and (n_left == 0 or n_left >= self.least)

    def fits(self, n_prompts: int, n_take: int) -> bool:
        """Whether so many prompts are computed together, `n_take` rows of each."""
        return n_prompts * (n_take - self.n_with_others) <= self.n_together


def plan_prompts(prompts: Sequence[WaitingPrompt], budget: int, tiling: Tiling | None = None) -> list[PromptPart]:
    """Share what a step has room for among the waiting prompts.

    By priority, then the shortest rest first: a short prompt is never behind a long one. A prompt ages by what is
    computed in its stead: once others have been given as many tokens as it has left, it is the next. With `tiling` far
    prompts and near ones do not share a step, and a far one may take a tile where there is room for less.
    """
    prompts = sorted(prompts, key=lambda prompt: (prompt.priority, prompt.n_wanted - prompt.n_passed))
    if tiling is not None and prompts:
        if prompts[0].is_far:
            return _plan_tiles(prompts, budget, tiling)
        prompts = [prompt for prompt in prompts if not prompt.is_far]
    parts: list[PromptPart] = []
    for prompt in prompts:
        n_take = min(prompt.n_left, budget)
        if prompt.n_to_mark is not None:
            n_take = min(n_take, prompt.n_to_mark)
        if n_take <= 0:
            break
        parts.append(PromptPart(prompt.id_slot, n_take, n_take == prompt.n_left))
        budget -= n_take
    return parts


def _plan_tiles(prompts: Sequence[WaitingPrompt], budget: int, tiling: Tiling) -> list[PromptPart]:
    """The first of these prompts, and those that are as long."""
    if budget <= 0:
        return []
    n_take = tiling.take(prompts[0], budget)
    parts: list[PromptPart] = []
    for prompt in prompts:
        n_parts = len(parts) + 1
        has_room = n_parts == 1 or (n_parts * n_take <= budget and tiling.fits(n_parts, n_take))
        if has_room and prompt.is_far and tiling.take(prompt, budget) == n_take:
            parts.append(PromptPart(prompt.id_slot, n_take, n_take == prompt.n_left))
    return parts


class Pace:
    """How many prompt tokens a step may take, so that it takes about as long as is wanted.

    Beside slots that generate that is found by trying: each step brings the next one nearer to its limit. Nothing is
    assumed about how time depends on the number of tokens, which differs between a CPU and a GPU. With nobody
    generating, whole physical batches are as fast as the whole batch, and let a newcomer in between.
    """

    def __init__(self, target_ms: float, n_batch: int, n_ubatch: int) -> None:
        self._target_ms = target_ms
        self._n_batch = n_batch
        self._n_ubatch = n_ubatch
        self._budget = n_ubatch / 2
        self._base_ms = 0.0
        """What a step without prompts, or with hardly any, takes."""
        self._tokens_per_ms = 0.0
        """Speed of steps that only have prompts."""

    @property
    def limit_ms(self) -> float:
        return max(self._target_ms, GENERATION_SHARE * self._base_ms)

    def observe(self, n_generating: int, n_prompt: int, ms: float) -> None:
        """A step with so many generating rows and prompt tokens took `ms`."""
        if n_generating == 0:
            if n_prompt >= self._n_ubatch:
                self._tokens_per_ms = _mean(self._tokens_per_ms, n_prompt / ms, SMOOTHING)
            return
        if n_prompt == 0:
            self._base_ms = _mean(self._base_ms, ms, SMOOTHING)
        elif n_prompt <= FEW:  # while prompts wait such steps are rare, and all that tells of a slower machine
            self._base_ms = _mean(self._base_ms, ms, 0.5)
        if n_prompt < FEW:
            return
        if ms > self.limit_ms:
            self._budget = max(FEW, self._budget * max(SHRINK, self.limit_ms / ms))
        elif n_prompt >= 0.9 * self._budget:
            self._budget = min(self._n_batch, n_prompt * min(GROWTH, self.limit_ms / ms))

    def prompt_budget(self, n_generating: int) -> int:
        """Prompt tokens for the next step."""
        if n_generating == 0:
            n_physical = max(1, int(self._tokens_per_ms * self._target_ms) // self._n_ubatch)
            return min(self._n_batch, n_physical * self._n_ubatch)
        return min(self._n_batch - n_generating, int(self._budget))


def _mean(mean: float, value: float, weight: float) -> float:
    return mean + weight * (value - mean) if mean else value


class Rotation:
    """Takes turns among kinds of tasks that cannot share a batch, so that none starves."""

    def __init__(self) -> None:
        self._waiting: list[Hashable] = []  # the one served last is last

    def next_of(self, kinds: Collection[KindT]) -> KindT:
        """The kind that has waited longest. One that is new, or was away, stands behind all that wait."""
        self._waiting = [kind for kind in self._waiting if kind in kinds]
        known = set(self._waiting)
        self._waiting += [kind for kind in kinds if kind not in known]
        return next(kind for kind in kinds if kind == self._waiting[0])

    def serve(self, kind: Hashable) -> None:
        """It was this kind's turn."""
        self._waiting.remove(kind)
        self._waiting.append(kind)
