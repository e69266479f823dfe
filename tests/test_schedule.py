"""Schedule: whatever waits, a step never takes too much, and everything gets its turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.schedule import FEW, GENERATION_SHARE, Pace, PromptPart, Rotation, Tiling, WaitingPrompt, plan_prompts


@st.composite
def waiting_prompts(draw: st.DrawFn) -> list[WaitingPrompt]:
    lengths = draw(st.lists(st.integers(1, 2000), min_size=1, max_size=12))
    ids = draw(st.permutations(range(len(lengths))))
    marks = draw(st.lists(st.none() | st.integers(1, 500), min_size=len(lengths), max_size=len(lengths)))
    return [
        WaitingPrompt(id_slot, n_left, n_left, mark) for id_slot, n_left, mark in zip(ids, lengths, marks, strict=True)
    ]


BUDGETS = st.integers(0, 2048)


@given(waiting_prompts(), BUDGETS)
def test_a_step_takes_no_more_than_its_budget(prompts: list[WaitingPrompt], budget: int) -> None:
    assert sum(part.n_take for part in plan_prompts(prompts, budget)) <= budget


@given(waiting_prompts(), BUDGETS)
def test_parts_are_of_waiting_prompts_once_each_and_say_when_they_are_the_last(
    prompts: list[WaitingPrompt], budget: int
) -> None:
    waiting = {prompt.id_slot: prompt for prompt in prompts}
    parts = plan_prompts(prompts, budget)
    assert len({part.id_slot for part in parts}) == len(parts)
    for part in parts:
        prompt = waiting[part.id_slot]
        assert 1 <= part.n_take <= min(prompt.n_left, prompt.n_to_mark or prompt.n_left)
        assert part.is_last == (part.n_take == prompt.n_left)


@given(waiting_prompts(), BUDGETS)
def test_no_room_is_left_while_a_prompt_waits(prompts: list[WaitingPrompt], budget: int) -> None:
    parts = plan_prompts(prompts, budget)
    wanted = sum(min(prompt.n_left, prompt.n_to_mark or prompt.n_left) for prompt in prompts)
    assert sum(part.n_take for part in parts) == min(budget, wanted)


@given(waiting_prompts(), BUDGETS)
def test_a_short_prompt_is_never_behind_a_long_one(prompts: list[WaitingPrompt], budget: int) -> None:
    prompts = [replace(prompt, n_to_mark=None) for prompt in prompts]
    taken = {part.id_slot: part.n_take for part in plan_prompts(prompts, budget)}
    unfinished = [prompt.n_left for prompt in prompts if taken.get(prompt.id_slot, 0) < prompt.n_left]
    for prompt in prompts:
        if prompt.id_slot in taken and unfinished:
            assert prompt.n_left <= min(unfinished) or taken[prompt.id_slot] < prompt.n_left


def test_a_prompt_that_was_passed_over_by_as_much_as_it_has_left_is_next() -> None:
    old, new = WaitingPrompt(0, 1000, 1000, n_passed=991), WaitingPrompt(1, 10, 10)
    assert plan_prompts([old, new], 100) == [PromptPart(0, 100, False)]
    old = replace(old, n_passed=989)
    assert plan_prompts([old, new], 100) == [PromptPart(1, 10, True), PromptPart(0, 90, False)]


def test_priority_goes_before_length_and_age() -> None:
    urgent, old = WaitingPrompt(0, 1000, 1000, priority=-1), WaitingPrompt(1, 10, 10, n_passed=5000)
    assert plan_prompts([old, urgent], 100) == [PromptPart(0, 100, False)]


def test_a_long_prompt_whose_beginning_others_wait_for_is_as_short_as_that() -> None:
    awaited, other = WaitingPrompt(0, 5000, n_wanted=50), WaitingPrompt(1, 100, 100)
    assert plan_prompts([other, awaited], 80) == [PromptPart(0, 80, False)]


TILING = Tiling(n_rows=64, n_together=512)


def far(id_slot: int, n_left: int, **others: int) -> WaitingPrompt:
    return WaitingPrompt(id_slot, n_left, n_left, is_far=True, **others)


def test_far_prompts_go_together_only_as_long_as_they_are_equally_long() -> None:
    prompts = [far(0, 64), far(1, 64), far(2, 65), far(3, 64)]
    assert plan_prompts(prompts, 512, TILING) == [PromptPart(i, 64, True) for i in (0, 1, 3)]


def test_no_more_far_prompts_go_together_than_are_computed_at_once() -> None:
    assert len(plan_prompts([far(i, 64) for i in range(15)], 2048, TILING)) == 8
    assert len(plan_prompts([far(i, 64) for i in range(15)], 200, TILING)) == 3


def test_far_prompts_and_near_ones_do_not_share_a_step() -> None:
    near = WaitingPrompt(3, 10, 10)
    assert plan_prompts([far(0, 64), near], 512, TILING) == [PromptPart(3, 10, True)]
    assert plan_prompts([far(0, 64, n_passed=60), near], 512, TILING) == [PromptPart(0, 64, True)]


def test_without_tiles_all_prompts_share_a_step() -> None:
    assert len(plan_prompts([far(0, 64), far(1, 65), WaitingPrompt(2, 10, 10)], 512)) == 3


@given(st.integers(1, 3000), st.integers(1, 600), st.sampled_from([0, 1]))
def test_a_far_prompt_is_computed_in_parts_of_at_least_a_tile(n_left: int, budget: int, n_with_others: int) -> None:
    tiling, n_short = replace(TILING, n_with_others=n_with_others), 0
    least = 64 + n_with_others
    while n_left > 0:
        (part,) = plan_prompts([far(0, n_left)], budget, tiling)
        assert part.n_take <= max(budget, 2 * least)
        n_short += part.n_take < least
        n_left -= part.n_take
        assert n_short == 0 or n_left == 0
    assert n_short <= 1  # a prompt that is shorter than a tile


@pytest.mark.parametrize(("n_with_others", "n_take"), [(0, 512), (1, 513)])
def test_a_far_part_leaves_no_short_piece_in_a_physical_batch(n_with_others: int, n_take: int) -> None:
    tiling = replace(TILING, n_with_others=n_with_others)
    assert plan_prompts([far(0, 5000)], 542, tiling) == [PromptPart(0, n_take, False)]
    assert plan_prompts([far(0, 5000)], 600, tiling) == [PromptPart(0, 600, False)]


def test_a_far_part_ends_where_a_checkpoint_is_taken() -> None:
    assert plan_prompts([far(0, 500, n_to_mark=20)], 512, TILING) == [PromptPart(0, 20, False)]


# --- pace


def learn(pace: Pace, *, base_ms: float, per_token_ms: float, n_steps: int = 100) -> Pace:
    """Let a pace see steps of a machine of that speed, each with what it allowed."""
    for step in range(n_steps):
        n_prompt = 0 if step % 10 == 0 else pace.prompt_budget(8)
        pace.observe(8, n_prompt, base_ms + n_prompt * per_token_ms)
    return pace


def new_pace(target_ms: float = 50.0) -> Pace:
    return Pace(target_ms, n_batch=2048, n_ubatch=512)


@pytest.mark.parametrize(("tokens_per_ms", "n"), [(0.1, 512), (8, 512), (25, 1024), (1000, 2048)])
def test_with_nobody_generating_a_prompt_gets_as_many_physical_batches_as_are_in_time(
    tokens_per_ms: float, n: int
) -> None:
    pace = new_pace()
    for _ in range(50):
        n_prompt = pace.prompt_budget(0)
        pace.observe(0, n_prompt, n_prompt / tokens_per_ms)
    assert pace.prompt_budget(0) == n


def test_before_anything_is_known_a_step_takes_half_a_physical_batch() -> None:
    assert new_pace().prompt_budget(8) == 256


@pytest.mark.parametrize(("per_token_ms", "n"), [(0.05, 800), (0.1, 400), (1.0, 40)])
def test_the_budget_keeps_a_step_at_its_target(per_token_ms: float, n: int) -> None:
    assert learn(new_pace(), base_ms=10, per_token_ms=per_token_ms).prompt_budget(8) == pytest.approx(n, rel=0.15)


def test_a_slow_machine_prefills_still_and_its_steps_take_no_more_than_so_many_times_as_long() -> None:
    n = learn(new_pace(), base_ms=400, per_token_ms=10).prompt_budget(8)
    assert 400 + 10 * n == pytest.approx(GENERATION_SHARE * 400, rel=0.15)
    assert learn(new_pace(), base_ms=1, per_token_ms=1000).prompt_budget(8) >= FEW


def test_the_budget_never_exceeds_the_batch() -> None:
    assert learn(new_pace(), base_ms=0.1, per_token_ms=0.001).prompt_budget(48) == 2000


@pytest.mark.parametrize("factor", [0.2, 5])
def test_the_pace_follows_a_machine_whose_speed_changes(factor: float) -> None:
    pace = learn(new_pace(), base_ms=10, per_token_ms=0.2)
    learn(pace, base_ms=10 * factor, per_token_ms=0.2 * factor)
    fresh = learn(new_pace(), base_ms=10 * factor, per_token_ms=0.2 * factor)
    assert pace.prompt_budget(8) == pytest.approx(fresh.prompt_budget(8), rel=0.2)


def test_a_machine_that_became_too_slow_for_the_target_does_not_starve_a_prompt() -> None:
    """What a step takes at least is learned anew even while every step has a part of a prompt."""
    pace = learn(new_pace(), base_ms=2, per_token_ms=0.1)
    for _ in range(100):
        n_prompt = pace.prompt_budget(8)
        pace.observe(8, n_prompt, 200 + n_prompt * 0.5)
    assert pace.prompt_budget(8) > 200


def test_one_slow_step_does_not_decide() -> None:
    pace = learn(new_pace(), base_ms=10, per_token_ms=0.1)
    before = pace.prompt_budget(8)
    pace.observe(8, before, 5000)
    assert pace.prompt_budget(8) >= 0.69 * before
    assert learn(pace, base_ms=10, per_token_ms=0.1, n_steps=4).prompt_budget(8) > 0.9 * before


def test_a_slow_step_with_a_few_prompt_tokens_says_nothing_about_prompts() -> None:
    pace = learn(new_pace(), base_ms=10, per_token_ms=0.1)
    before = pace.prompt_budget(8)
    pace.observe(8, 5, 5000)
    assert pace.prompt_budget(8) == before


# --- rotation


@given(st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=60))
def test_no_kind_waits_longer_than_it_takes_to_serve_all_the_others(steps: list[set[int]]) -> None:
    rotation, waited = Rotation(), dict.fromkeys(range(5), 0)
    for kinds in steps:
        chosen = rotation.next_of(kinds)
        assert rotation.next_of(kinds) == chosen, "to ask is not to serve"
        rotation.serve(chosen)
        assert chosen in kinds
        waited = {kind: waited[kind] + 1 if kind in kinds and kind != chosen else 0 for kind in waited}
        assert max(waited.values()) <= 5
