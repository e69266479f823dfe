from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.api.chat import ChatPrompt, chat_prompt
from llamahttp.api.parameters import CHAT_TABLE
from llamahttp.api.turns import common_prefix, token_positions, turn_offsets
from llamahttp.binding.model import LlamaModel
from llamahttp.builtin_templates import CHATML
from llamahttp.chat_template import ChatTemplate
from tests.fakes import FakeVocab

from .conftest import Client, Recorder, Start, post, recorder

SYSTEM = {"role": "system", "content": "be brief"}
USER = {"role": "user", "content": "hé"}
BOT = {"role": "assistant", "content": "yes"}


def cut(template: str = CHATML, **body: Any) -> list[str]:
    """The parts into which the turns cut a prompt."""
    chat = render(template, **body)
    ends = [*chat.turns, len(chat.text)]
    return [chat.text[start:end] for start, end in zip([0, *chat.turns], ends, strict=True)]


def render(template: str = CHATML, **body: Any) -> ChatPrompt:
    return chat_prompt(body, CHAT_TABLE.decode(body), ChatTemplate(template), finds_turns=True)


def chatml(*messages: dict[str, str]) -> str:
    return "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)


ANSWER = "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("messages", "parts"),
    [
        ([USER], [chatml(USER), ANSWER]),
        ([SYSTEM, USER], [chatml(SYSTEM), chatml(USER), ANSWER]),
        ([SYSTEM, USER, BOT, USER], [chatml(SYSTEM, USER, BOT), chatml(USER), ANSWER]),
        ([SYSTEM, USER, BOT, USER, SYSTEM], [chatml(SYSTEM, USER, BOT), chatml(USER, SYSTEM), ANSWER]),
        ([SYSTEM, USER, BOT], [chatml(SYSTEM), chatml(USER), f"{ANSWER}yes"]),
        ([SYSTEM], [chatml(SYSTEM), ANSWER]),
        ([BOT], [f"{ANSWER}yes"]),
    ],
)
def test_turns_of_a_conversation(messages: list[dict[str, str]], parts: list[str]) -> None:
    assert cut(messages=messages) == parts


def test_without_the_beginning_of_an_answer_there_is_one_turn_less() -> None:
    assert cut(messages=[SYSTEM, USER], add_generation_prompt=False) == [chatml(SYSTEM), chatml(USER)]


def test_a_thought_belongs_to_the_answer() -> None:
    template = CHATML + "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    assert cut(template, messages=[SYSTEM, USER])[-1] == f"{ANSWER}<think>\n"


def test_a_template_that_refuses_part_of_a_conversation_has_no_turns() -> None:
    template = "{% if messages[-1].role != 'user' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    assert render(template, messages=[SYSTEM, USER]).turns == ()


def test_a_template_that_shows_the_last_turn_differently_is_cut_where_it_differs() -> None:
    template = "{% for message in messages %}{{ message.content ~ ('!' if loop.last else '.') }}{% endfor %}"
    assert cut(template, messages=[SYSTEM, USER]) == ["be brief", ".hé!"]


def test_turns_are_looked_for_only_when_asked() -> None:
    body = {"messages": [SYSTEM, USER]}
    assert chat_prompt(body, CHAT_TABLE.decode(body), ChatTemplate(CHATML)).turns == ()


@given(st.text("ab", max_size=20), st.text("ab", max_size=20))
def test_common_prefix(a: str, b: str) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert a[n : n + 1] != b[n : n + 1] or n == len(a) == len(b)


# --- tokens


def test_positions_of_a_token_a_byte() -> None:
    text = chatml(SYSTEM, USER) + ANSWER
    offsets = turn_offsets(text, [SYSTEM, USER], lambda messages: chatml(*messages))
    tokens = FakeVocab().tokenize(text, add_special=True, parse_special=True)
    expected = (len(chatml(SYSTEM)), len(chatml(SYSTEM, USER).encode()))
    assert token_positions(offsets, text, tokens, FakeVocab()) == expected


@pytest.mark.parametrize("model", ["llama", "llama_bpe", "gemma3"])
def test_positions_are_those_of_the_tokens_that_begin_the_turns(model: str, request: pytest.FixtureRequest) -> None:
    """With BOS and without, with SentencePiece's spaces that are not in the text and without."""
    vocab = request.getfixturevalue(model).vocab
    before, last = chatml(SYSTEM, USER, BOT), chatml(USER | {"content": " two  spaces <|im_end|> x"})
    text = before + last + ANSWER
    tokens = vocab.tokenize(text, add_special=True, parse_special=True)
    positions = token_positions((len(before), len(before + last)), text, tokens, vocab)
    starts = [len(vocab.tokenize(part, add_special=True, parse_special=True)) for part in (before, before + last)]
    assert list(positions) == starts


def test_an_offset_within_a_token_means_the_token(llama_bpe: LlamaModel) -> None:
    vocab = llama_bpe.vocab
    tokens = vocab.tokenize(chatml(USER), add_special=True, parse_special=True)
    assert len(vocab.special_pieces[tokens[0]]) > 3
    assert token_positions([3], chatml(USER), tokens, vocab) == ()
    within_second = len(vocab.special_pieces[tokens[0]]) + len(vocab.special_pieces[tokens[1]]) - 1
    assert token_positions([within_second], chatml(USER), tokens, vocab) == (1,)


def test_tokens_that_spell_another_text_have_no_turns() -> None:
    assert token_positions([2], "abc", np.array([97, 97, 99], np.int32), FakeVocab()) == ()
    assert token_positions([2], "abc", np.array([97, 98], np.int32), FakeVocab()) == ()
    assert token_positions([], "abc", np.array([97, 98, 99], np.int32), FakeVocab()) == ()


# --- tasks


class WantsTurns(Recorder):
    wants_turns = True


class WantsNoTurns(Recorder):
    wants_turns = False


async def ask(client: Client) -> tuple[int, ...]:
    await post(client, "/v1/chat/completions", {"messages": [SYSTEM, USER], "max_tokens": 1})
    return recorder(client).tasks[-1].turns


async def test_the_engine_gets_turns_if_it_wants_them(start: Start) -> None:
    assert await ask(await start(around=WantsTurns)) == (len(chatml(SYSTEM)), len(chatml(SYSTEM, USER).encode()))
    assert await ask(await start(around=WantsNoTurns)) == ()


async def test_plain_completions_have_no_turns(start: Start) -> None:
    client = await start(around=WantsTurns)
    await post(client, "/completion", {"prompt": chatml(SYSTEM, USER), "n_predict": 1})
    assert recorder(client).tasks[-1].turns == ()
