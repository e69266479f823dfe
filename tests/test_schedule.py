"""Schedule: whatever waits, a step never takes too much, and everything gets its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamahttp.schedule import PromptPart, WaitingPrompt, plan_prompts

SIZES = st.tuples(st.integers(1, 512), st.integers(1, 512)).map(lambda sizes: (max(sizes), min(sizes)))
"""(n_batch, n_ubatch)"""


@st.composite
def waiting_prompts(draw: st.DrawFn) -> list[WaitingPrompt]:
    lengths = draw(st.lists(st.integers(1, 2000), min_size=1, max_size=12))
    ids = draw(st.permutations(range(len(lengths))))
    return [WaitingPrompt(id_slot, n_left) for id_slot, n_left in zip(ids, lengths, strict=True)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[WaitingPrompt], int, int, int]:
    n_batch, n_ubatch = draw(SIZES)
    return draw(waiting_prompts()), draw(st.integers(0, n_batch)), n_batch, n_ubatch


@given(situations())
def test_a_step_is_never_larger_than_a_batch(situation: tuple[list[WaitingPrompt], int, int, int]) -> None:
    prompts, n_generating, n_batch, n_ubatch = situation
    n_taken = sum(part.n_take for part in plan_prompts(prompts, n_generating, n_batch, n_ubatch))
    assert n_taken + n_generating <= n_batch
    if n_generating:
        assert n_taken <= n_ubatch, "others wait for no more than one physical batch"


@given(situations())
def test_parts_are_of_waiting_prompts_once_each_and_say_when_they_are_the_last(
    situation: tuple[list[WaitingPrompt], int, int, int],
) -> None:
    prompts, n_generating, n_batch, n_ubatch = situation
    left = {prompt.id_slot: prompt.n_left for prompt in prompts}
    parts = plan_prompts(prompts, n_generating, n_batch, n_ubatch)
    assert len({part.id_slot for part in parts}) == len(parts)
    for part in parts:
        assert 1 <= part.n_take <= left[part.id_slot]
        assert part.is_last == (part.n_take == left[part.id_slot])


@given(situations())
def test_no_room_is_left_while_a_prompt_waits(situation: tuple[list[WaitingPrompt], int, int, int]) -> None:
    prompts, n_generating, n_batch, n_ubatch = situation
    parts = plan_prompts(prompts, n_generating, n_batch, n_ubatch)
    room = n_batch - n_generating
    if n_generating:
        room = min(room, n_ubatch)
    assert sum(part.n_take for part in parts) == min(room, sum(prompt.n_left for prompt in prompts))


@given(situations())
def test_a_short_prompt_is_never_behind_a_long_one(situation: tuple[list[WaitingPrompt], int, int, int]) -> None:
    prompts, n_generating, n_batch, n_ubatch = situation
    completed = {part.id_slot for part in plan_prompts(prompts, n_generating, n_batch, n_ubatch) if part.is_last}
    longest_completed = max((prompt.n_left for prompt in prompts if prompt.id_slot in completed), default=0)
    assert all(prompt.n_left >= longest_completed for prompt in prompts if prompt.id_slot not in completed)


@given(waiting_prompts(), SIZES, st.data())
def test_every_prompt_is_completed_after_enough_steps(
    prompts: list[WaitingPrompt], sizes: tuple[int, int], data: st.DataObject
) -> None:
    n_batch, n_ubatch = sizes
    left = {prompt.id_slot: prompt.n_left for prompt in prompts}
    total, n_steps, n_generating = sum(left.values()), 0, data.draw(st.integers(0, n_batch - 1))
    while left:
        waiting = [WaitingPrompt(id_slot, n_left) for id_slot, n_left in left.items()]
        for part in plan_prompts(waiting, n_generating, n_batch, n_ubatch):
            left[part.id_slot] -= part.n_take
            assert part.is_last == (left[part.id_slot] == 0)
            if part.is_last:
                del left[part.id_slot]
        n_steps += 1
        assert n_steps <= total


def test_a_lone_prompt_gets_the_whole_batch() -> None:
    assert plan_prompts([WaitingPrompt(3, 5000)], 0, 2048, 512) == [PromptPart(3, 2048, False)]


def test_while_others_generate_it_gets_a_physical_batch() -> None:
    assert plan_prompts([WaitingPrompt(3, 5000)], 1, 2048, 512) == [PromptPart(3, 512, False)]


def test_what_short_prompts_leave_goes_to_the_long_one() -> None:
    prompts = [WaitingPrompt(0, 5000), WaitingPrompt(1, 7), WaitingPrompt(2, 100)]
    assert plan_prompts(prompts, 2, 2048, 512) == [
        PromptPart(1, 7, True),
        PromptPart(2, 100, True),
        PromptPart(0, 405, False),
    ]


def test_with_every_row_generating_nothing_is_planned() -> None:
    assert plan_prompts([WaitingPrompt(0, 10)], 8, 8, 8) == []
    assert plan_prompts([], 0, 8, 8) == []
