from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llamahttp.api.prompt import HUGE_TEXT, check_can_fit, split_prompts, tokenize_prompts
from llamahttp.engine import Engine
from llamahttp.errors import ContextExceeded
from tests.fakes import fake_engine


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with fake_engine() as engine:
        yield engine


@pytest.mark.parametrize(
    ("value", "prompts"),
    [
        ("a", ["a"]),
        (None, [None]),
        ([1, 2], [[1, 2]]),
        ([1, "a"], [[1, "a"]]),
        (["a", "b"], ["a", "b"]),
        (["a", [1, "b"]], ["a", [1, "b"]]),
        ([[1], [2]], [[1], [2]]),
    ],
)
def test_a_list_is_one_prompt_if_it_holds_a_number(value: object, prompts: list[object]) -> None:
    assert split_prompts(value) == prompts


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("ab", [[97, 98]]),
        ([1, "ab", 2, 3], [[1, 97, 98, 2, 3]]),
        ({"prompt_string": "ab"}, [[97, 98]]),
        ([{"prompt_string": ["a", 5]}, "b", [7]], [[97, 5], [98], [7]]),
    ],
)
async def test_every_form_becomes_tokens(engine: Engine, value: object, tokens: list[list[int]]) -> None:
    assert [ids.tolist() for ids in await tokenize_prompts(engine, value)] == tokens


@pytest.mark.parametrize(
    ("prompt", "n_least"),
    [
        ("x" * HUGE_TEXT * 20, HUGE_TEXT * 20 // len(b"<eos>")),
        (["x" * HUGE_TEXT, 7, "y"], (HUGE_TEXT + 1) // len(b"<eos>") + 1),
        ([7] * 5000, 5000),
    ],
    ids=["text", "mixed", "ids"],
)
async def test_a_prompt_that_cannot_fit_is_known_without_tokenizing(
    engine: Engine, prompt: str | list[object], n_least: int
) -> None:
    with pytest.raises(ContextExceeded) as caught:
        check_can_fit(engine, prompt)
    assert caught.value.n_prompt == n_least
