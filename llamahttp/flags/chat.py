"""Chat templates and thoughts."""

from __future__ import annotations

from .row import Flag, Value
from .values import chat_template, integer, text_file

CHAT: tuple[Flag, ...] = (
    Value(
        names=("--chat-template",),
        target="chat_template",
        metavar="JINJA_TEMPLATE",
        parse=chat_template,
        env="LLAMA_ARG_CHAT_TEMPLATE",
        help="Jinja source, or chatml, instead of the model's own chat template",
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
)
