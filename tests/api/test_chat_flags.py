"""Chat flags: what the server's own settings make of every chat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llamahttp import flags
from llamahttp.api.chat import ChatPrompt, chat_prompt
from llamahttp.api.parameters import CHAT_TABLE
from llamahttp.builtin_templates import CHATML
from llamahttp.chat_template import ChatTemplate
from llamahttp.tools.format import CONTENT_ONLY

USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "yes"}
SHOWS = "{{ enable_thinking | default('?') }} {{ reasoning_effort | default('?') }} {{ preserve_reasoning }} {{ a }}"
SHOWS_AND_THINKS = SHOWS + "{# </think> #}"
THINKS = "{{ messages[0].content }}<think>{# </think> #}"


def render(line: str, template: str = CHATML, **body: Any) -> ChatPrompt:
    body = {"messages": [USER]} | body
    config = flags.parse(line.split(), {})
    return chat_prompt(body, CHAT_TABLE.decode(body), ChatTemplate(template), config)


@pytest.mark.parametrize(
    ("line", "body", "text"),
    [
        ("", {}, "? ? True "),
        ("--reasoning off --reasoning-effort low --no-reasoning-preserve", {}, "False low False "),
        ('--chat-template-kwargs {"a":1,"enable_thinking":true}', {}, "True ? True 1"),
        ('--chat-template-kwargs {"a":1}', {"chat_template_kwargs": {"enable_thinking": False}}, "False ? True 1"),
        ('--chat-template-kwargs {"a":1}', {"chat_template_kwargs": {"a": 2}}, "? ? True 2"),
        ("--reasoning-effort low", {"reasoning_effort": "high"}, "? high True "),
        ("--reasoning-effort low --reasoning-effort default", {}, "? ? True "),
    ],
)
def test_variables_of_the_template(line: str, body: dict[str, Any], text: str) -> None:
    assert render(line, SHOWS, **body).text == text


def test_who_can_think_is_asked_to_unless_it_is_said_otherwise() -> None:
    assert render("", SHOWS_AND_THINKS).text == "True ? True "
    assert render("--reasoning on", SHOWS_AND_THINKS).text == "True ? True "
    assert render("--reasoning off", SHOWS_AND_THINKS).text == "False ? True "
    asked = {"chat_template_kwargs": {"enable_thinking": False}}
    assert render("--reasoning on", SHOWS_AND_THINKS, **asked).text == "False ? True "


def test_an_assistants_last_message_is_whole_without_prefill() -> None:
    end = "<|im_start|>assistant\nyes<|im_end|>\n<|im_start|>assistant\n"
    assert render("--no-prefill-assistant", messages=[USER, BOT]).text.endswith(end)
    assert render("", messages=[USER, BOT]).prefill == "yes"
    asked = {"continue_final_message": True, "add_generation_prompt": False}
    assert render("--no-prefill-assistant", messages=[USER, BOT], **asked).prefill == "yes"


def test_thoughts_stay_in_the_content_where_nothing_is_parsed() -> None:
    assert replace(render("", THINKS), format=CONTENT_ONLY) == ChatPrompt(
        "hi<think>", thought="<think>", can_think=True
    )
    assert replace(render("--skip-chat-parsing", THINKS), format=CONTENT_ONLY) == ChatPrompt("hi<think>")
