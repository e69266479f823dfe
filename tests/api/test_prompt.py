from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llamahttp.api.prompt import HUGE_TEXT, split_prompts, tokenize_prompts, tokenize_text
from llamahttp.engine import Engine
from llamahttp.errors import ContextExceeded
from tests.fakes import FakeVocab, fake_engine


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


async def test_a_text_that_cannot_fit_is_not_tokenized(engine: Engine) -> None:
    class NeverTokenizes(FakeVocab):
        def tokenize(self, text: object, **_: object) -> object:  # type: ignore[override]
            raise AssertionError("20 MB would be tokenized")

    engine.vocab = NeverTokenizes()  # type: ignore[assignment]
    with pytest.raises(ContextExceeded) as caught:
        await tokenize_text(engine, "x" * HUGE_TEXT * 20)
    assert caught.value.n_prompt == HUGE_TEXT * 20 // len(b"<eos>")
