"""Chat: an OpenAI chat body, checked and rendered to the prompt that continues it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..config import ServerConfig
from ..errors import InvalidRequest, NotSupported
from .reasoning import CLOSE, open_thought
from .turns import turn_offsets

if TYPE_CHECKING:
    from ..chat_template import ChatTemplate

DEFAULT_CONFIG = ServerConfig()

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


def chat_prompt(
    body: Mapping[str, Any],
    values: Mapping[str, Any],
    template: ChatTemplate,
    config: ServerConfig = DEFAULT_CONFIG,
    *,
    finds_turns: bool = False,
) -> ChatPrompt:
    """Check a chat and render it: `body` holds its messages, `values` is what `CHAT_TABLE` makes of the rest.

    `finds_turns` renders it twice more, to fill `turns`. Raises InvalidRequest, and NotSupported for what is not there
    yet.
    """
    check_format(values["response_format"])
    messages = read_messages(body)
    tools = read_tools(values["tools"])
    check_tool_choice(values["tool_choice"])
    last = messages.pop() if read_continuation(values, messages, config.prefill_assistant) else None
    adds_prompt = last is not None or values["add_generation_prompt"] is not False
    kwargs = config.template_variables | template_kwargs(values)

    def render(messages: Sequence[dict[str, Any]], *, adds_prompt: bool = False) -> str:
        return template.render(messages, tools=tools, add_generation_prompt=adds_prompt, kwargs=kwargs)

    text = render(messages, adds_prompt=adds_prompt)
    if last is not None:
        prompt = continued(text, last)
    elif config.skip_chat_parsing:
        prompt = ChatPrompt(text)
    else:
        prompt = ChatPrompt(text, thought=open_thought(text), can_think=CLOSE in template.source)
    return replace(prompt, turns=turn_offsets(text, messages, render)) if finds_turns else prompt


def continued(text: str, message: dict[str, Any]) -> ChatPrompt:
    """The prompt that goes on with `message`, where `text` ends with the beginning of an answer."""
    if open_thought(text):
        text += f"{message.get('reasoning_content') or ''}\n{CLOSE}\n\n"
    prefill = message_text(message)
    return ChatPrompt(text + prefill, prefill)


def read_messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages, a new list. Raises InvalidRequest for any that the API does not allow."""
    if "messages" not in body:
        raise InvalidRequest("'messages' is required")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise InvalidRequest("Expected 'messages' to be an array")
    if not messages:
        raise InvalidRequest("'messages' must not be empty")
    for i, message in enumerate(messages):
        check_message(message, f"messages[{i}]")
    return list(messages)


def check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise InvalidRequest(f"Expected '{where}' to be an object")
    role = message.get("role")
    if not isinstance(role, str):
        raise InvalidRequest(f"'{where}' must have a 'role', which is a string")
    if role != "assistant" and "content" not in message:
        raise InvalidRequest(f"All non-assistant messages must contain 'content', but '{where}' does not")
    if role == "assistant" and "content" not in message and "tool_calls" not in message:
        raise InvalidRequest("Assistant message must contain either 'content' or 'tool_calls'!")
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise InvalidRequest(f"Expected '{where}.tool_calls' to be an array of objects")
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            check_part(part)
    elif content is not None and not isinstance(content, str):
        raise InvalidRequest(f"Expected 'content' to be a string or an array, but '{where}.content' is neither")


def check_part(part: Any) -> None:
    match part:
        case {"type": "text", "text": str()}:
            return
        case {"type": str(kind)} if kind in MEDIA:
            raise NotSupported(f"{MEDIA[kind]} input is not supported by this server")
    raise InvalidRequest("unsupported content[].type: only {type: text, text: string} is known")


def message_text(message: dict[str, Any]) -> str:
    """A message's content as one text; parts stand on lines of their own."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return content or ""


def read_tools(tools: list[Any]) -> list[dict[str, Any]]:
    for tool in tools:
        match tool:
            case {"type": "function", "function": {"name": str()}}:
                continue
        raise InvalidRequest("Expected 'tools' to be an array of {type: function, function: {name, ...}}")
    return tools


def check_tool_choice(choice: Any) -> None:
    """Tools are shown to the model, but nothing makes it use one yet."""
    if choice == "required" or isinstance(choice, dict):
        raise NotSupported("Field 'tool_choice': this server cannot force a tool call yet")
    if choice not in ("auto", "none"):
        raise InvalidRequest(f"Invalid tool_choice: {choice}")


def check_format(response_format: dict[str, Any]) -> None:
    kind = response_format.get("type")
    if kind in ("json_object", "json_schema"):
        raise NotSupported(f"Field 'response_format': this server cannot do {kind} yet")
    if kind not in (None, "", "text"):
        raise InvalidRequest(f'response_format type must be one of "text" or "json_object", but got: {kind}')


def read_continuation(values: Mapping[str, Any], messages: list[dict[str, Any]], prefills: bool = True) -> bool:
    """Whether the answer continues the last message: when asked for, and if it `prefills` always when it is the
    assistant's."""
    asked = values["continue_final_message"]
    if asked not in (None, False, True, "content", "reasoning_content"):
        raise InvalidRequest(f"Invalid continue_final_message: {asked}")
    if asked == "reasoning_content":
        raise NotSupported("Field 'continue_final_message': this server cannot continue reasoning yet")
    if asked and values["add_generation_prompt"] is not False:
        raise InvalidRequest("Cannot set both add_generation_prompt and continue_final_message to true.")
    roles = [message["role"] for message in messages[-2:]]
    if roles[-1] != "assistant" or not (asked or prefills):
        return False
    if not asked and roles == ["assistant", "assistant"]:
        raise InvalidRequest("Cannot have 2 or more assistant messages at the end of the list.")
    if messages[-1].get("tool_calls"):
        raise InvalidRequest("Cannot continue an assistant message that contains tool calls.")
    return True


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
