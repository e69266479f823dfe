"""Schedule: which tokens the next step computes. Pure: takes numbers, returns a plan, touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WaitingPrompt:
    """A slot whose prompt is not evaluated to its end."""

    id_slot: int
    n_left: int


@dataclass(frozen=True, slots=True)
class PromptPart:
    """The next `n_take` tokens of a slot's prompt; `is_last` when they complete it."""

    id_slot: int
    n_take: int
    is_last: bool


def plan_prompts(prompts: Sequence[WaitingPrompt], n_generating: int, n_batch: int, n_ubatch: int) -> list[PromptPart]:
    """Share what a step has room for among the waiting prompts, the shortest rest first.

    Generating slots come before all prompts, a row each. While there are any, prompts get at most one physical batch
    (`n_ubatch` rows), so that a long prompt lengthens the others' steps by no more than that; else the whole batch.
    A short prompt is never behind a long one.
    """
    budget = n_batch - n_generating
    if n_generating:
        budget = min(budget, n_ubatch)
    parts = []
    for prompt in sorted(prompts, key=lambda prompt: prompt.n_left):
        n_take = min(prompt.n_left, budget)
        if n_take <= 0:
            break
        parts.append(PromptPart(prompt.id_slot, n_take, n_take == prompt.n_left))
        budget -= n_take
    return parts
