"""The budget of thoughts: what it forces when, and against a slow model of the same rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.budget import BudgetSpec, BudgetState, ReasoningBudget, is_complete

PIECES = (b"<", b"t", b">", b"/", b"a", "ä".encode()[:1], "ä".encode()[1:], b"stop", b"\n", b"!")
START, END, OTHER_END = (0, 1, 2), (0, 3, 2), (9,)
LETTER, HALF, REST = 4, 5, 6
SPEC = BudgetSpec(START, (END, OTHER_END), (7, 8, *END), 3)


def run(spec: BudgetSpec, sampled: list[int]) -> tuple[list[int], ReasoningBudget]:
    """What comes when the model would say `sampled`, token for token, except where something is forced."""
    budget = ReasoningBudget(spec, PIECES)
    said: list[int] = []
    for token in sampled:
        forced = budget.forced()
        said.append(token if forced is None else forced)
        budget.accept(said[-1])
    return said, budget


def test_a_thought_that_is_too_long_is_ended_with_the_message() -> None:
    said, budget = run(SPEC, [*START, *[LETTER] * 10])
    assert said == [*START, LETTER, LETTER, LETTER, 7, 8, *END, LETTER, LETTER]
    assert (budget.state, budget.end_match) == (BudgetState.DONE, END)


@pytest.mark.parametrize("end", [END, OTHER_END])
def test_a_thought_that_ends_in_time_is_left_alone(end: tuple[int, ...]) -> None:
    sampled = [*START, LETTER, *end, *[LETTER] * 9]
    spec = replace(SPEC, n_tokens=5)
    said, budget = run(spec, sampled)
    assert said == sampled
    assert (budget.state, budget.end_match) == (BudgetState.DONE, end)


def test_without_a_thought_nothing_is_forced() -> None:
    said, budget = run(SPEC, [LETTER] * 20)
    assert (said, budget.state) == ([LETTER] * 20, BudgetState.IDLE)


def test_a_budget_of_nothing_ends_the_thought_at_once() -> None:
    said, _ = run(replace(SPEC, n_tokens=0), [*START, *[LETTER] * 6])
    assert said == [*START, 7, 8, *END, LETTER]


def test_the_prompt_may_have_begun_the_thought() -> None:
    said, _ = run(replace(SPEC, n_tokens=1, primed=(LETTER, *START)), [LETTER] * 7)
    assert said == [LETTER, 7, 8, *END, LETTER]


def test_a_character_is_completed_before_the_thought_is_ended() -> None:
    """As in llama-server each token is looked at alone, so that one with only the rest of a character does not do."""
    said, _ = run(SPEC, [*START, LETTER, LETTER, HALF, REST, *[LETTER] * 7])
    assert said == [*START, LETTER, LETTER, HALF, REST, LETTER, 7, 8, *END, LETTER]


def test_each_thought_has_the_whole_budget() -> None:
    said, _ = run(SPEC, [*START, LETTER, *OTHER_END, *START, *[LETTER] * 10])
    assert said == [*START, LETTER, *OTHER_END, *START, LETTER, LETTER, LETTER, 7, 8, *END, LETTER, LETTER]


def test_a_thought_is_ended_from_outside_once() -> None:
    budget = ReasoningBudget(replace(SPEC, n_tokens=-1), PIECES)
    assert not budget.end()
    for token in (*START, *[LETTER] * 100):
        assert budget.forced() is None
        budget.accept(token)
    assert budget.end()
    assert not budget.end()
    assert budget.forced() == 7


@given(st.lists(st.sampled_from([*range(len(PIECES))]), max_size=60), st.integers(-1, 4))
def test_as_a_slow_model_of_the_rules(sampled: list[int], n_tokens: int) -> None:
    spec = replace(SPEC, n_tokens=n_tokens)
    said, _ = run(spec, sampled)
    assert said == slowly(spec, sampled)


def slowly(spec: BudgetSpec, sampled: list[int]) -> list[int]:
    """The same rules over the whole list, with searches instead of automata."""
    said: list[int] = []
    begin = 0  # where a start of a thought may begin
    while len(said) < len(sampled):
        said.append(sampled[len(said)])
        if tuple(said[begin:][-len(spec.start) :]) != spec.start:
            continue
        thought = len(said)
        count = 0
        while len(said) < len(sampled):
            if spec.n_tokens == 0 or (0 < spec.n_tokens <= count and is_complete(PIECES[said[-1]])):
                rest = len(sampled) - len(said)
                said += spec.forced[:rest]
                break
            said.append(sampled[len(said)])
            count += 1
            waited = thought + spec.n_tokens if 0 < spec.n_tokens < count else thought
            if any(tuple(said[waited:][-len(end) :]) == end for end in spec.ends):
                break
        begin = len(said)
    return said


@pytest.mark.parametrize("text", ["a", "ä", "漢", "😀"])
def test_a_character_is_complete_with_its_last_byte(text: str) -> None:
    data = text.encode()
    assert is_complete(data)
    assert is_complete(b"x" + data)
    assert not any(is_complete(data[:n]) for n in range(1, len(data)))
    assert is_complete(b"")
