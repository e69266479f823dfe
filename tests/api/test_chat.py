from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llamahttp.api.chat import ChatPrompt, chat_prompt
from llamahttp.api.parameters import CHAT_TABLE
from llamahttp.builtin_templates import CHATML
from llamahttp.chat_template import ChatTemplate
from llamahttp.config import ServerConfig
from llamahttp.errors import InvalidRequest, LlamaHTTPError, NotSupported
from llamahttp.tools.format import CONTENT_ONLY

USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "yes"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}


def calling(**changes: Any) -> dict[str, Any]:
    """A body with a call that differs from a good one."""
    return {"messages": [USER, BOT | {"tool_calls": [CALL | changes]}, USER]}


def render(template: str = CHATML, **body: Any) -> ChatPrompt:
    body = {"messages": [USER]} | body
    return chat_prompt(body, CHAT_TABLE.decode(body), ChatTemplate(template))


def shown(prompt: ChatPrompt) -> ChatPrompt:
    """A prompt but for how answers to it are read."""
    return replace(prompt, format=CONTENT_ONLY)


def test_the_prompt_ends_with_the_beginning_of_an_answer() -> None:
    assert render() == ChatPrompt("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


def test_it_does_not_when_it_shall_not() -> None:
    assert render(add_generation_prompt=False).text == "<|im_start|>user\nhi<|im_end|>\n"


@pytest.mark.parametrize("content", ["hi", [{"type": "text", "text": "hi"}]])
def test_text_may_come_in_parts(content: object) -> None:
    assert render(messages=[{"role": "user", "content": content}]) == render()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"reasoning_content": "Hm."}, "<think>Hm.</think>"),
        ({"refusal": "I will not."}, "I will not."),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": "Yes.", "refusal": None}, "Yes."),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "I will not."),
    ],
)
def test_what_an_agent_got_it_can_send_back(said: dict[str, Any], text: str) -> None:
    thinking = (
        "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    prompt = render(thinking, messages=[USER, {"role": "assistant", **said}, USER])
    assert prompt.text == f"<user>hi<assistant>{text}<user>hi"


@pytest.mark.parametrize("body", [{"prediction": {"type": "content", "content": "x"}}, {"functions": []}])
def test_what_changes_no_answer_is_taken(body: dict[str, Any]) -> None:
    assert render(**body, function_call="auto", modalities=["text"]) == render()


def test_a_web_search_is_left_out_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "llamahttp.api.chat"):
        assert render(web_search_options={}) == render()
    assert caplog.messages == ["'web_search_options' is ignored: this server searches nothing"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"add_generation_prompt": True},
        {"add_generation_prompt": False, "continue_final_message": True},
        {"add_generation_prompt": False, "continue_final_message": "content"},
    ],
)
def test_an_assistant_s_message_at_the_end_is_continued(body: dict[str, Any]) -> None:
    prompt = render(messages=[USER, BOT], **body)
    assert prompt == ChatPrompt(render().text + "yes", "yes")


def test_the_conversation_of_the_client_is_left_alone() -> None:
    messages = [USER, BOT]
    render(messages=messages)
    assert messages == [USER, BOT]


def test_tools_and_variables_reach_the_template() -> None:
    template = "{{ tools[0].function.name }} {{ colour }} {{ enable_thinking }} {{ reasoning_effort }}"
    kwargs = {"colour": "red", "enable_thinking": True}
    assert render(template, tools=[TOOL], chat_template_kwargs=kwargs, reasoning_effort="low").text == (
        "look red True low"
    )
    assert render(template, tools=[TOOL], chat_template_kwargs=kwargs, reasoning_effort="none").text == (
        "look red False "
    )


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"messages": None}, InvalidRequest, "'messages' is required"),
        ({"messages": "hi"}, InvalidRequest, "Expected 'messages' to be an array"),
        ({"messages": [], **CONTINUED}, InvalidRequest, "Cannot continue the last message: 'messages' is empty"),
        ({"messages": ["hi"]}, InvalidRequest, "Expected 'messages[0]' to be an object"),
        ({"messages": [USER, {}]}, InvalidRequest, "'messages[1]' must have a 'role'"),
        ({"messages": [{"role": 5, "content": "x"}]}, InvalidRequest, "'messages[0]' must have a 'role'"),
        ({"messages": [{"role": "user"}]}, InvalidRequest, "All non-assistant messages must contain 'content'"),
        ({"messages": [{"role": "assistant"}]}, InvalidRequest, "Assistant message must contain either"),
        ({"messages": [{"role": "user", "content": 5}]}, InvalidRequest, "Expected 'content' to be a string"),
        ({"messages": [{"role": "user", "content": [5]}]}, InvalidRequest, "unsupported content[].type"),
        ({"messages": [{"role": "user", "content": [{"type": "zzz"}]}]}, InvalidRequest, "unsupported content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, InvalidRequest, "unsupported content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, NotSupported, "image input is not"),
        ({"messages": [USER, BOT, BOT]}, InvalidRequest, "Cannot have 2 or more assistant messages"),
        ({"messages": [USER, BOT | {"tool_calls": [CALL]}]}, InvalidRequest, "Cannot continue an assistant message"),
        ({"messages": [USER, BOT | {"tool_calls": 5}]}, InvalidRequest, "Expected 'messages[1].tool_calls' to be an"),
        ({"messages": [USER, BOT | {"tool_calls": [5]}]}, InvalidRequest, "Expected 'messages[1].tool_calls[0]' to"),
        (calling(type="custom"), InvalidRequest, "Unsupported tool call type: 'messages[1].tool_calls[0].type' is"),
        (calling(id=5), InvalidRequest, "Expected 'messages[1].tool_calls[0].id' to be a string"),
        (calling(function=5), InvalidRequest, "Expected 'messages[1].tool_calls[0].function' to be an object"),
        (calling(function={"name": 5}), InvalidRequest, "Expected 'messages[1].tool_calls[0].function' to be an obj"),
        (calling(function={"name": "look"}), InvalidRequest, "Expected 'messages[1].tool_calls[0].function.argum"),
        (calling(function={"name": "look", "arguments": [1]}), InvalidRequest, "Expected 'messages[1].tool_calls[0]"),
        ({"messages": [USER | {"name": 5}]}, InvalidRequest, "Expected 'messages[0].name' to be a string"),
        ({"messages": [BOT | {"reasoning_content": []}, USER]}, InvalidRequest, "Expected 'messages[0].reasoning_"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 1}]}, InvalidRequest, "Expected 'messages[0]"),
        ({"continue_final_message": True}, InvalidRequest, "Cannot set both add_generation_prompt and"),
        ({"continue_final_message": "x"}, InvalidRequest, "Invalid continue_final_message: x"),
        ({**CONTINUED, "messages": [USER]}, InvalidRequest, "Cannot continue the last message, which is not the assi"),
        ({"tools": 5}, InvalidRequest, "Field 'tools': type must be array, but is number"),
        ({"tools": [5]}, InvalidRequest, "Expected 'tools' to be an array of"),
        ({"functions": [{"name": "f"}]}, InvalidRequest, "Field 'functions': this form is not supported; give 'tools'"),
        ({"function_call": {"name": "f"}}, InvalidRequest, "Field 'function_call': this form is not supported"),
        ({"modalities": ["text", "audio"]}, NotSupported, "Field 'modalities': this value needs a feature"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, NotSupported, "Field 'audio': this value needs a feature"),
        ({"messages": [{"role": "assistant", "refusal": 3}]}, InvalidRequest, "Expected 'messages[0].refusal' to be"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
            InvalidRequest,
            "Field 'tools[0].type': tools of a chat are",
        ),
        ({"tool_choice": "zz"}, InvalidRequest, "Invalid tool_choice: zz"),
        ({"tool_choice": "required"}, InvalidRequest, "Field 'tool_choice': a call is required"),
        ({"tool_choice": {"type": "function"}}, InvalidRequest, "Invalid tool_choice: an object of the wrong form"),
        ({"response_format": {"type": "json_object", "schema": 5}}, InvalidRequest, "Expected 'response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": 5}}, InvalidRequest, "Expected 'response_for"),
        ({"response_format": {"type": "zz"}}, InvalidRequest, "response_format type must be one of"),
        ({"chat_template_kwargs": 5}, InvalidRequest, "Field 'chat_template_kwargs': type must be object"),
        ({"chat_template_kwargs": {"enable_thinking": "x"}}, InvalidRequest, 'invalid type for "enable_thinking"'),
    ],
)
def test_bad_chats(body: dict[str, Any], error: type[LlamaHTTPError], message: str) -> None:
    with pytest.raises(error) as caught:
        render(**body)
    assert str(caught.value).startswith(message)


def test_messages_are_required() -> None:
    with pytest.raises(InvalidRequest, match="'messages' is required"):
        chat_prompt({}, CHAT_TABLE.decode({}), ChatTemplate(CHATML))


@pytest.mark.parametrize(
    "body",
    [
        {"tools": []},
        {"tool_choice": "auto"},
        {"tool_choice": "none", "tools": [TOOL]},
        {"response_format": {"type": "text"}},
        {"response_format": None},
        {"parallel_tool_calls": True},
        {"continue_final_message": False},
        {"messages": [{"role": "user", "content": None}, USER]},
    ],
)
def test_defaults_may_be_sent(body: dict[str, Any]) -> None:
    assert render(**body).text.endswith("hi<|im_end|>\n<|im_start|>assistant\n")


THINKING = (
    CHATML
    + "{% if add_generation_prompt and enable_thinking is not false %}{{ '<think>\\n' }}{% endif %}{# </think> #}"
)


def test_a_prompt_may_begin_a_thought() -> None:
    prompt = render(THINKING)
    assert (prompt.thought, prompt.can_think) == ("<think>\n", True)
    assert prompt.text.endswith("assistant\n<think>\n")
    prompt = render(THINKING, reasoning_effort="none")
    assert (prompt.thought, prompt.can_think) == ("", True)


def test_a_continued_answer_has_been_thought_about() -> None:
    prompt = render(THINKING, messages=[USER, BOT])
    assert prompt.text.endswith("assistant\n<think>\n\n</think>\n\nyes")
    prompt = render(THINKING, messages=[USER, BOT | {"reasoning_content": "hm"}])
    assert prompt.text.endswith("assistant\n<think>\nhm\n</think>\n\nyes")


REASONING = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_thoughts_are_continued_as_the_template_shows_them() -> None:
    thinking = {"role": "assistant", "content": "", "reasoning_content": "hm "}
    for continues in (True, "reasoning_content"):
        prompt = render(REASONING, messages=[USER, thinking], **CONTINUED | {"continue_final_message": continues})
        assert shown(prompt) == ChatPrompt("<user>hi</><assistant><think>hm ", thought="<think>hm ", can_think=True)
    said = thinking | {"content": "yes"}
    prompt = render(REASONING, messages=[USER, said], **CONTINUED)
    assert shown(prompt) == ChatPrompt("<user>hi</><assistant><think>hm </think>yes", "yes")


def test_thoughts_are_continued_where_the_prompt_begins_them() -> None:
    prompt = render(THINKING, messages=[USER, {"role": "assistant", "content": "", "reasoning_content": "hm"}])
    assert prompt.text.endswith("assistant\n<think>\nhm")
    assert (prompt.thought, prompt.can_think, prompt.prefill) == ("<think>\nhm", True, "")


def test_thoughts_that_the_template_leaves_out_are_not_lost() -> None:
    forgetful = REASONING.replace("m.reasoning_content %}<think>", "false %}<think>")
    prompt = render(forgetful, messages=[USER, BOT | {"reasoning_content": "hm"}])
    assert shown(prompt) == ChatPrompt("<user>hi</><assistant><think>\nhm\n</think>\n\nyes", "yes")


def test_the_variant_for_tools_takes_the_template_s_place_when_there_are_tools() -> None:
    template = ChatTemplate("plain", tool_use=ChatTemplate("{{ tools[0].function.name }}"))
    bodies: list[dict[str, Any]] = [{"messages": [USER]}, {"messages": [USER], "tools": [TOOL]}]
    prompts = [chat_prompt(body, CHAT_TABLE.decode(body), template).text for body in bodies]
    assert prompts == ["plain", "look"]


def test_templates_that_know_thoughts_are_asked_for_them_by_default() -> None:
    """As llama-server does; transformers leaves it to the template."""
    source = "{{ enable_thinking }}"
    assert render(source).text == ""
    assert render(source + "{# </think> #}").text == "True"
    assert render(source + "{# </think> #}", chat_template_kwargs={"enable_thinking": False}).text == "False"


def test_what_a_request_asks_of_the_template_wins_over_the_command_line() -> None:
    config = ServerConfig(template_kwargs=(("a", 1), ("b", 1), ("reasoning_effort", "low")))
    body = {"messages": [USER], "chat_template_kwargs": {"b": 2}, "reasoning_effort": "high"}
    template = ChatTemplate("{{ a }}{{ b }}{{ reasoning_effort }}")
    assert chat_prompt(body, CHAT_TABLE.decode(body), template, config).text == "12high"


def test_no_messages_are_the_beginning_of_an_answer() -> None:
    """As in llama-server."""
    assert render(messages=[]).text == "<|im_start|>assistant\n"


def test_without_prefilling_an_assistant_s_message_at_the_end_is_one_like_others() -> None:
    config = ServerConfig(prefill_assistant=False)
    for messages in ([USER, BOT], [USER, BOT, BOT]):
        asked: dict[str, Any] = {"messages": messages}
        prompt = chat_prompt(asked, CHAT_TABLE.decode(asked), ChatTemplate(CHATML), config)
        assert prompt.text.endswith("yes<|im_end|>\n<|im_start|>assistant\n") and not prompt.prefill
    body = {"messages": [USER, BOT], **CONTINUED}
    assert chat_prompt(body, CHAT_TABLE.decode(body), ChatTemplate(CHATML), config).prefill == "yes"
