"""Chat templates and thoughts."""

from __future__ import annotations

from typing import Any

from .row import Flag, Switch, Value, ignored
from .values import chat_template, choice, integer, json_object, on_off_auto, text_file

Variables = tuple[tuple[str, Any], ...]


def template_kwargs(value: str) -> Variables:
    return tuple(json_object(value).items())


def reasoning(value: str) -> Variables:
    is_on = on_off_auto(value)
    return () if is_on is None else (("enable_thinking", is_on),)


def reasoning_effort(value: str) -> Variables:
    """None takes back what was said before."""
    return (("reasoning_effort", None if value == "default" else value),)


CHAT: tuple[Flag, ...] = (
    Value(
        names=("--chat-template",),
        target="chat_template",
        metavar="JINJA_TEMPLATE",
        parse=chat_template,
        env="LLAMA_ARG_CHAT_TEMPLATE",
        help="Jinja source or the name of a built-in template (llama3, chatml ...), instead of the model's own",
    ),
    Value(
        names=("--chat-template-file",),
        target="chat_template",
        metavar="JINJA_TEMPLATE_FILE",
        parse=text_file,
        env="LLAMA_ARG_CHAT_TEMPLATE_FILE",
        help="file with that source",
    ),
    Value(
        names=("--reasoning-budget",),
        target="reasoning_budget",
        metavar="N",
        parse=integer(-1),
        env="LLAMA_ARG_THINK_BUDGET",
        help="most tokens that a model may think before it has to answer (default: {}, -1 = no limit)",
    ),
    Value(
        names=("--reasoning-budget-message",),
        target="reasoning_budget_message",
        metavar="MESSAGE",
        parse=str,
        env="LLAMA_ARG_THINK_BUDGET_MESSAGE",
        help="what ends a thought that has used up its tokens, before the end tag (default: nothing)",
    ),
    ignored(
        "--jinja",
        "chat templates are always Jinja",
        env="LLAMA_ARG_JINJA",
        off="--no-jinja",
        harmless=("on",),
    ),
    Value(
        names=("--chat-template-kwargs",),
        target="template_kwargs",
        metavar="STRING",
        parse=template_kwargs,
        env="LLAMA_ARG_CHAT_TEMPLATE_KWARGS",
        help="JSON object of variables for the chat template, which a request's own win over",
    ),
    Value(
        names=("--reasoning-format",),
        target="reasoning_format",
        metavar="FORMAT",
        parse=choice("auto", "none", "deepseek", "deepseek-legacy"),
        env="LLAMA_ARG_THINK",
        help="where thoughts go: none = into the content, deepseek = into reasoning_content, deepseek-legacy = into "
        "both (default: {} = deepseek)",
    ),
    Value(
        names=("-rea", "--reasoning"),
        target="template_kwargs",
        metavar="[on|off|auto]",
        parse=reasoning,
        env="LLAMA_ARG_REASONING",
        help="whether the chat template is asked to let the model think (default: auto)",
    ),
    Value(
        names=("--reasoning-effort",),
        target="template_kwargs",
        metavar="LEVEL",
        parse=reasoning_effort,
        env="LLAMA_ARG_REASONING_EFFORT",
        help="how much to think, a word that the chat template knows, such as low or high (default: default)",
    ),
    Switch(
        names=("--reasoning-preserve",),
        off=("--no-reasoning-preserve",),
        target="preserve_reasoning",
        env="LLAMA_ARG_REASONING_PRESERVE",
        help="show the model all its thoughts of a conversation, where its chat template can (default: {})",
    ),
    Switch(
        names=("--skip-chat-parsing",),
        off=("--no-skip-chat-parsing",),
        target="skip_chat_parsing",
        env="LLAMA_ARG_SKIP_CHAT_PARSING",
        help="leave thoughts and tool calls in an answer's content (default: {})",
    ),
    Switch(
        names=("--prefill-assistant",),
        off=("--no-prefill-assistant",),
        target="prefill_assistant",
        env="LLAMA_ARG_PREFILL_ASSISTANT",
        help="continue a chat's last message if it is the assistant's (default: {})",
    ),
)
