from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llamahttp.abc import FimTokens
from llamahttp.api.infill import Gap, Room, infill_prompt, require_fim
from llamahttp.errors import NotSupported
from tests.fakes import FakeVocab

from .conftest import Client, post, post_error

PREFIX, SUFFIX, MIDDLE, REPOSITORY, FILE, BOS = 300, 301, 302, 303, 304, 305


class FimVocab(FakeVocab):
    fim = FimTokens(PREFIX, SUFFIX, MIDDLE, REPOSITORY, FILE)


class PlainFimVocab(FakeVocab):
    """No tokens for repositories and files; prompts begin with BOS."""

    fim = FimTokens(PREFIX, SUFFIX, MIDDLE)
    bos = BOS
    adds_bos = True


def ids(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def make(vocab: FakeVocab, gap: Gap, n_ctx: int = 4096, n_batch: int = 2048, **options: Any) -> list[int]:
    return infill_prompt(gap, vocab, Room(n_ctx, n_batch, -1), **options).tolist()


def test_the_parts_are_framed_by_their_tokens() -> None:
    gap = Gap(ids("ab"), ids("yz"), ids("c"))
    header = [REPOSITORY, *b"myproject\n", FILE, *b"filename\n"]
    assert make(FimVocab(), gap) == [*header, PREFIX, *b"abc", SUFFIX, *b"yz", MIDDLE]


def test_files_of_context_come_first() -> None:
    gap = Gap(ids("a"), ids("z"), files=((ids("one.py\n"), ids("text")),))
    prompt = make(FimVocab(), gap)
    assert bytes(i for i in prompt if i < 256) == b"myproject\none.py\ntextfilename\naz"
    assert [i for i in prompt if i >= 256] == [REPOSITORY, FILE, FILE, PREFIX, SUFFIX, MIDDLE]


def test_a_vocabulary_without_tokens_for_files() -> None:
    gap = Gap(ids("a"), ids("z"), files=((ids("one.py\n"), ids("text")),))
    assert make(PlainFimVocab(), gap) == [*b"\n\n--- snippet ---\n\ntext", BOS, PREFIX, *b"a", SUFFIX, *b"z", MIDDLE]


def test_the_suffix_may_come_first() -> None:
    gap = Gap(ids("a"), ids("z"))
    assert make(PlainFimVocab(), gap, suffix_first=True) == [BOS, SUFFIX, *b"z", PREFIX, *b"a", MIDDLE]


def test_texts_are_cut_towards_the_gap_and_files_to_what_is_left() -> None:
    gap = Gap(ids("a" * 99 + "b"), ids("y" + "z" * 99), ids("c"), files=((ids("f\n"), ids("x" * 100)),))
    prompt = make(PlainFimVocab(), gap, n_ctx=60, n_batch=40)
    assert prompt == [*b"x" * 22, BOS, PREFIX, *b"a" * 29, *b"bc", SUFFIX, *b"yzzzzzz", MIDDLE]
    assert len(prompt) <= 64


def test_a_model_that_has_not_learnt_it_is_told_in_llama_server_s_words() -> None:
    require_fim(PlainFimVocab.fim)
    with pytest.raises(NotSupported) as caught:
        require_fim(FimTokens(prefix=5))
    assert str(caught.value) == (
        "Infill is not supported by this model: suffix token is missing. middle token is missing. "
    )


async def test_the_route_refuses_it(client: Client) -> None:
    body = {"input_prefix": "a", "input_suffix": "b"}
    assert "Infill is not supported" in await post_error(client, "/infill", body, 501)


@pytest.fixture
def with_fim(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake vocabulary has the tokens; of bytes, since it has no more."""
    monkeypatch.setattr(FakeVocab, "fim", FimTokens(1, 2, 3))


@pytest.mark.usefixtures("with_fim")
async def test_the_prompt_of_a_request(client: Client) -> None:
    body = {"input_prefix": "ab", "input_suffix": ["y", 122], "prompt": "c", "n_predict": 1}
    answer = await post(client, "/infill", body)
    assert answer["prompt"] == "\x01abc\x02yz\x03"
    answer = await post(client, "/infill", body | {"input_extra": [{"text": "one"}, {"text": "two", "filename": "f"}]})
    # the context less a batch has room for it all
    assert answer["prompt"].endswith("one\n\n--- snippet ---\n\ntwo\x01abc\x02yz\x03")


@pytest.mark.usefixtures("with_fim")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input_suffix": "b"}, "'input_prefix' is required"),
        ({"input_prefix": "b"}, "'input_suffix' is required"),
        ({"prompt": 5}, "Field 'prompt': type must be string, but is number"),
        ({"input_extra": 5}, "Field 'input_extra': Expected `array`, got `int`"),
        ({"input_extra": [{}]}, "Field 'input_extra[0]': Object missing required field `text`"),
        ({"input_extra": [{"text": 5}]}, "Field 'input_extra[0].text': Expected `str`, got `int`"),
        ({"input_prefix": {}}, '"input_prefix" elements must be'),
    ],
)
async def test_bad_requests(client: Client, body: dict[str, Any], message: str) -> None:
    whole = {"input_prefix": "a", "input_suffix": "b"} | body if "input_extra" in body or "prompt" in body else body
    if "input_prefix" in body and body["input_prefix"] == {}:
        whole = {"input_suffix": "b"} | body
    assert (await post_error(client, "/infill", whole)).startswith(message)


@pytest.mark.usefixtures("with_fim")
async def test_a_suffix_of_openai_s_completions_is_infill(client: Client) -> None:
    body = {"prompt": "ab", "suffix": "yz", "max_tokens": 3}
    text = await post(client, "/v1/completions", body)
    native = await post(client, "/infill", {"input_prefix": "ab", "input_suffix": "yz", "n_predict": 3})
    assert text["choices"][0]["text"] == native["content"]
    assert "'suffix'" in await post_error(client, "/v1/completions", body | {"prompt": ["a", "b"]})
    assert "'echo'" in await post_error(client, "/v1/completions", body | {"echo": True})
