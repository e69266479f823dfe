"""Planner: who generates in the next step, and which parts of prompts it computes. Engine thread only.

It chooses among running slots and makes room for them in the cache; it neither decodes nor ends a task.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .abc import Decoder
from .cache.resident import ResidentCache
from .placement import FAR, Placement
from .schedule import Pace, PromptPart, Rotation, Tiling, WaitingPrompt, plan_prompts
from .slot import Slot
from .suspects import Suspects
from .task import SlotState


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step computes: a row for each generating slot, then the parts of prompts."""

    generating: Sequence[Slot]
    parts: Sequence[PromptPart] = ()
    adapters: tuple[tuple[int, float], ...] = ()
    """Of all slots in it, which have the same."""

    def __bool__(self) -> bool:
        return bool(self.generating or self.parts)

    @property
    def n_prompt(self) -> int:
        """Tokens of prompts."""
        return sum(part.n_take for part in self.parts)


class Planner:
    """Plans one step after another for the slots that run."""

    def __init__(
        self,
        decoder: Decoder,
        cache: ResidentCache,
        placement: Placement,
        suspects: Suspects,
        *,
        target_step_ms: float,
        has_adapters: bool,
    ) -> None:
        self._decoder = decoder
        self._cache = cache
        self._placement = placement
        self._suspects = suspects
        self._has_adapters = has_adapters
        self._pace = Pace(target_step_ms, decoder.n_batch, decoder.n_ubatch)
        self._rotation = Rotation()

    def observe(self, plan: StepPlan, running: Collection[Slot], ms: float) -> None:
        """This step took `ms`. Prompts that wait note what others were given in their stead."""
        self._pace.observe(len(plan.generating), plan.n_prompt, ms)
        if not plan.parts:
            return
        own = {part.id_slot: part.n_take for part in plan.parts}
        for slot in running:
            if slot.state is SlotState.PROMPT:
                slot.n_passed += plan.n_prompt - own.get(slot.id, 0)

    def plan(self, running: Collection[Slot]) -> StepPlan:
        """The next step. Makes room for it, if need be at the cost of those that are last in rank."""
        while True:
            active = self._choose(running)
            generating = [slot for slot in active if slot.state is SlotState.GENERATING]
            prompts = [slot for slot in active if slot.state is SlotState.PROMPT]
            n_rows = len(generating) or bool(prompts)
            if self._cache.make_room(n_rows) or not self._placement.preempt_last(running):
                break
        if not active:
            return StepPlan(())
        if self._has_adapters:
            self._rotation.serve(active[0].adapters)
        parts = self._plan_prompts(prompts, len(generating)) if prompts else ()
        return StepPlan(generating, parts, active[0].adapters)

    def _choose(self, running: Collection[Slot]) -> list[Slot]:
        """The tasks of this step: some suspects after a failure, and of all those of one set of adapters."""
        active = self._suspects.choose([slot for slot in running if slot.is_active])
        if self._has_adapters and active:
            kind = self._rotation.next_of({slot.adapters for slot in active})
            active = [slot for slot in active if slot.adapters == kind]
        return active

    def _plan_prompts(self, prompts: Sequence[Slot], n_generating: int) -> list[PromptPart]:
        budget = self._prompt_budget(n_generating, sum(slot.n_left for slot in prompts))
        decoder = self._decoder
        tiling = Tiling.beside(n_generating, decoder.n_tile, decoder.n_ubatch, decoder.n_batch)
        return plan_prompts([_waiting_prompt(slot) for slot in prompts], budget, tiling)

    def _prompt_budget(self, n_generating: int, n_left: int) -> int:
        """Tokens of prompts that this step may take, of `n_left` that wait."""
        budget = min(n_left, self._pace.prompt_budget(n_generating))
        self._cache.make_room(n_generating + budget)
        n_free = self._cache.n_free_cells
        return budget if n_free is None else min(budget, n_free - n_generating)


def _waiting_prompt(slot: Slot) -> WaitingPrompt:
    n_past, n_wanted, priority = slot.n_past, slot.n_left, slot.task.priority
    if slot.wanted is not None:
        # somebody waits for the beginning of this prompt: it is as urgent and as short as what they wait for
        n_wanted = min(n_wanted, slot.wanted.n_tokens - n_past)
        priority = min(priority, slot.wanted.priority)
    return WaitingPrompt(
        slot.id,
        slot.n_left,
        n_wanted,
        n_to_mark=slot.marks[0] - n_past if slot.marks else None,
        is_far=n_past >= FAR,
        n_passed=slot.n_passed,
        priority=priority,
    )
