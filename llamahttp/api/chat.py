"""Chat: an OpenAI chat body, checked and rendered to the prompt that continues it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from ..config import ServerConfig
from ..errors import InvalidRequest, NotSupported
from ..template_messages import message_text
from ..text import encodable
from ..tools.detect import detect
from ..tools.format import CONTENT_ONLY, ChatFormat, Thought
from .answer_format import read_format
from .tool_use import NO_TOOLS, ToolUse, read_tool_use
from .turns import turn_offsets

if TYPE_CHECKING:
    from ..chat_template import ChatTemplate

log = logging.getLogger(__name__)

DEFAULT_CONFIG = ServerConfig()

TEXT_FIELDS = ("name", "reasoning_content", "refusal", "tool_call_id")
SAID = ("content", "tool_calls", "reasoning_content", "refusal")
"""Members that an assistant's message has one of: what an agent got it can send back."""

MEDIA = {"image_url": "image", "input_audio": "audio", "input_video": "video", "video_url": "video"}


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The prompt of a chat."""

    text: str
    prefill: str = ""
    """The part of the answer that the prompt ends with."""
    thought: str = ""
    """The beginning of a thought that the prompt ends with."""
    can_think: bool = False
    """Answers may begin with a thought."""
    turns: tuple[int, ...] = ()
    """Characters of `text` before each turn that later prompts may leave it at."""
    format: ChatFormat = CONTENT_ONLY
    """How the template has answers written."""
    use: ToolUse = NO_TOOLS
    """What answers may call."""


def chat_prompt(
    body: Mapping[str, Any],
    values: Mapping[str, Any],
    template: ChatTemplate,
    config: ServerConfig = DEFAULT_CONFIG,
    *,
    finds_turns: bool = False,
    thinks: bool = True,
) -> ChatPrompt:
    """Check a chat and render it: `body` holds its messages, `values` is what `CHAT_TABLE` makes of the rest.

    `finds_turns` renders it twice more, to fill `turns`. `thinks`: the model is let think where neither the chat nor
    the configuration says whether it should. Raises InvalidRequest, and NotSupported for what is not there yet.
    """
    check_extras(values)
    read_format(values)
    messages = read_messages(body)
    use = read_tool_use(values)
    tools = values["tools"]
    field = read_continuation(values, messages, config.prefill_assistant)
    template = template.for_tools(tools)
    format = detect(template)
    thought = format.thought
    switch = {"enable_thinking": thinks} if template.thinks else {}
    inputs: dict[str, Any] = {"tools": tools, "kwargs": switch | config.template_variables | template_kwargs(values)}

    def render(messages: Sequence[dict[str, Any]], *, adds_prompt: bool = False) -> str:
        return template.render(messages, add_generation_prompt=adds_prompt, **inputs)

    if field == "reasoning_content" and thought is None:
        if values["continue_final_message"] == field:
            raise InvalidRequest("Cannot continue 'reasoning_content': the chat template shows no thoughts.")
        field = "content"
    if field:
        *messages, last = messages
        last = in_one_piece(last, field)
        begun = render(messages, adds_prompt=True)
        shown = template.render_continued([*messages, last], field, **inputs)
        prompt = continued(begun, shown, last, field, thought)
    else:
        text = render(messages, adds_prompt=values["add_generation_prompt"] is not False)
        prompt = ChatPrompt(text, can_think=thought is not None and not config.skip_chat_parsing)
        if thought and prompt.can_think:
            prompt = replace(prompt, thought=thought.opening(text))
    turns = turn_offsets(prompt.text, messages, render) if finds_turns else ()
    return replace(prompt, turns=turns, format=format, use=use)


def check_extras(values: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for the forms of tools that OpenAI's API had before `tools`."""
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if values[old] not in (None, [], "none", "auto"):
            raise InvalidRequest(f"Field '{old}': this form is not supported; give '{new}' instead", param=old)
    if values["web_search_options"] is not None:
        log.info("'web_search_options' is ignored: this server searches nothing")


def in_one_piece(message: dict[str, Any], field: str) -> dict[str, Any]:
    """`message` with the parts of `field` as one text, empty lines between them, as llama-server continues it."""
    match message.get(field):
        case [*parts] if all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
            return message | {field: "\n\n".join(part["text"] for part in parts)}
    return message


def continued(
    begun: str, shown: str | None, message: dict[str, Any], field: str, thought: Thought | None
) -> ChatPrompt:
    """The prompt that goes on with a field of `message`, which is its thought only if it is known what that looks like.

    `begun` ends with the beginning of an answer, perhaps with that of a thought. `shown` ends with the message as the
    template shows it, which does not have to begin like an answer, and does not have to hold the message's thought;
    None if it leaves out the field.

        begun   [conversation, start of an answer ... base)[opening)
        shown   [conversation, start of an answer ... base)[shown thought, if any][content ... ]
    """
    reasoning = encodable(message.get("reasoning_content") or "")
    opening = thought.opening(begun) if thought else ""
    if field == "reasoning_content" and thought:
        if shown is None or opening:
            shown = f"{begun}{'' if opening else thought.start}{reasoning}"
        start = shown.rfind(thought.start.strip())
        return ChatPrompt(shown, thought=shown[start:] if start >= 0 else thought.start, can_think=True)
    content = encodable(message_text(message))
    base = begun[: len(begun) - len(opening)]
    tail = shown[len(base) :] if shown is not None and shown.startswith(base) else None
    is_closed = not opening or (thought is not None and tail is not None and thought.end.strip() in tail)
    if shown is not None and is_closed and (reasoning in shown or thought is None):
        return ChatPrompt(shown, content)
    if thought and (opening or reasoning):
        begun += f"{'' if opening else thought.start}{reasoning}{thought.end}"
    if tail is None or (thought and thought.start.strip() in tail):
        tail = content
    return ChatPrompt(begun + tail, content)


def read_messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages, a new list; none are an answer's beginning, as in llama-server. A refusal is content. Raises
    InvalidRequest for any that the API does not allow."""
    if "messages" not in body:
        raise InvalidRequest("'messages' is required")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise InvalidRequest("Expected 'messages' to be an array")
    for i, message in enumerate(messages):
        check_message(message, f"messages[{i}]")
    return list(map(with_refusal, messages))


def with_refusal(message: dict[str, Any]) -> dict[str, Any]:
    """`message` with what it refuses in as content: templates know no other place for it."""
    content = message.get("content")
    if isinstance(content, list):
        return message | {"content": list(map(as_text, content))}
    return message | {"content": message["refusal"]} if message.get("refusal") and not content else message


def as_text(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": part["refusal"]} if part["type"] == "refusal" else part


def check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise InvalidRequest(f"Expected '{where}' to be an object")
    role = message.get("role")
    if not isinstance(role, str):
        raise InvalidRequest(f"'{where}' must have a 'role', which is a string")
    if role != "assistant" and "content" not in message:
        raise InvalidRequest(f"All non-assistant messages must contain 'content', but '{where}' does not")
    if role == "assistant" and not any(name in message for name in SAID):
        raise InvalidRequest("Assistant message must contain either 'content' or 'tool_calls'!")
    for name in TEXT_FIELDS:
        if not isinstance(message.get(name), (str, NoneType)):
            raise InvalidRequest(f"Expected '{where}.{name}' to be a string")
    calls = message.get("tool_calls")
    if not isinstance(calls, (list, NoneType)):
        raise InvalidRequest(f"Expected '{where}.tool_calls' to be an array of objects")
    for i, call in enumerate(calls or ()):
        check_call(call, f"{where}.tool_calls[{i}]")
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            check_part(part)
    elif content is not None and not isinstance(content, str):
        raise InvalidRequest(f"Expected 'content' to be a string or an array, but '{where}.content' is neither")


def check_call(call: Any, where: str) -> None:
    if not isinstance(call, dict):
        raise InvalidRequest(f"Expected '{where}' to be an object")
    if call.get("type", "function") != "function":
        raise InvalidRequest(f"Unsupported tool call type: '{where}.type' is {call['type']!r}, not 'function'")
    if not isinstance(call.get("id"), (str, NoneType)):
        raise InvalidRequest(f"Expected '{where}.id' to be a string")
    match call.get("function"):
        case {"name": str(), "arguments": str() | dict()}:
            return
        case {"name": str()}:
            raise InvalidRequest(f"Expected '{where}.function.arguments' to be a string or an object")
    raise InvalidRequest(f"Expected '{where}.function' to be an object with a 'name', which is a string")


def check_part(part: Any) -> None:
    match part:
        case {"type": "text", "text": str()} | {"type": "refusal", "refusal": str()}:
            return
        case {"type": str(kind)} if kind in MEDIA:
            raise NotSupported(f"{MEDIA[kind]} input is not supported by this server")
    raise InvalidRequest("unsupported content[].type: only {type: text, text: string} is known")


def read_continuation(values: Mapping[str, Any], messages: list[dict[str, Any]], prefills: bool = True) -> str:
    """The field of the last message that the answer continues, if it does.

    That is so when asked for, and if it `prefills` always when the message is the assistant's.
    """
    asked = values["continue_final_message"]
    if asked not in (None, False, True, "content", "reasoning_content"):
        raise InvalidRequest(f"Invalid continue_final_message: {asked}")
    if asked and values["add_generation_prompt"] is not False:
        raise InvalidRequest("Cannot set both add_generation_prompt and continue_final_message to true.")
    roles = [message["role"] for message in messages[-2:]]
    if not (asked or (prefills and roles[-1:] == ["assistant"])):
        return ""
    if not roles:
        raise InvalidRequest("Cannot continue the last message: 'messages' is empty.")
    if not asked and roles == ["assistant", "assistant"]:
        raise InvalidRequest("Cannot have 2 or more assistant messages at the end of the list.")
    if roles[-1] != "assistant":
        raise InvalidRequest(f"Cannot continue the last message, which is not the assistant's but the {roles[-1]}'s.")
    last = messages[-1]
    if last.get("tool_calls"):
        raise InvalidRequest("Cannot continue an assistant message that contains tool calls.")
    if isinstance(asked, str):
        return asked
    return "reasoning_content" if last.get("reasoning_content") and not last.get("content") else "content"


def template_kwargs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Variables for the template. The reasoning effort `none` is a switch, any other a variable."""
    kwargs = dict(values["chat_template_kwargs"])
    effort = values["reasoning_effort"]
    if effort == "none":
        kwargs.pop("reasoning_effort", None)
        kwargs["enable_thinking"] = False
    elif effort:
        kwargs["reasoning_effort"] = effort
    return kwargs
