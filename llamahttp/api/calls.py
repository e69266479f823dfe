"""Calls: how a chat's answers are read, and the grammar that holds them to it; from the request and the template's
format. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import InvalidRequest
from ..tools.format import ChatFormat
from ..tools.lark import Beginning, answer_to_lark, to_lark
from ..tools.parser import Parser
from ..tools.voice import ThoughtsIn
from ..trigger import Trigger, TriggerKind
from .chat import ChatPrompt
from .tool_use import ANY_ARGUMENTS, NO_TOOLS, ToolUse

THOUGHTS = {"none": ThoughtsIn.CONTENT, "deepseek-legacy": ThoughtsIn.BOTH}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the text of a chat's answers becomes messages."""

    format: ChatFormat = field(default_factory=ChatFormat)
    """With calls only if there may be some."""
    use: ToolUse = NO_TOOLS
    is_open: bool = False
    """The prompt has begun a thought."""
    may_think: bool = False
    """Answers may begin with a thought."""
    primer: str = ""
    """The beginning of an island that the prompt ends with."""
    thoughts: ThoughtsIn = ThoughtsIn.REASONING

    def parser(self) -> Parser | None:
        """For one answer; None if all of it is content."""
        if not self.format.islands and self.thoughts is ThoughtsIn.CONTENT:
            return None
        if not self.format.islands and self.format.thought is None:
            return None
        return Parser(self.format, self.use.tools, is_open=self.is_open, primer=self.primer, thoughts=self.thoughts)


def read_answers(chat: ChatPrompt, reasoning_format: str, *, parses: bool = True) -> Reading:
    """How answers to a chat's prompt are read; `parses`: not just as content.

    Raises InvalidRequest where a call is wanted of a template that has none.
    """
    format, use = chat.format, chat.use
    if use.is_required and not (format.calls and parses):
        raise InvalidRequest("Field 'tool_choice': the model's chat template shows no format of tool calls")
    if not parses:
        return Reading()
    if not use.tools:
        format = format.without_calls()
    if not chat.can_think:
        format = replace(format, thought=None)
    thought = format.thought
    return Reading(
        format,
        use if format.calls else NO_TOOLS,
        bool(chat.thought),
        thought is not None and not chat.text.rstrip().endswith(thought.end.strip()),
        format.primer if format.primer and chat.text.endswith(format.primer) else "",
        THOUGHTS.get(reasoning_format, ThoughtsIn.REASONING),
    )


# --- what holds answers to that


@dataclass(frozen=True, slots=True)
class CallGrammar:
    """What answers have to obey so that their calls are whole."""

    lark: str
    triggers: tuple[Trigger, ...] = ()
    """It holds from the first of them on; from the beginning if there are none."""


def call_grammar(
    reading: Reading, ends: frozenset[str], lenient: frozenset[str] = frozenset(), answer: str = ""
) -> CallGrammar:
    """The grammar of an answer's calls. `ends` are texts of tokens that end answers, `lenient` are tools whose
    parameters are not seen to, `answer` is the rule of an answer without calls, if there is one."""
    use = reading.use
    tools = {name: ANY_ARGUMENTS if name in lenient else schema for name, schema in use.tools.items()}
    is_lazy = not use.is_required and not answer
    triggers = tuple(find_triggers(reading.format, list(tools))) if is_lazy else ()
    beginning = Beginning(is_lazy, reading.may_think, reading.is_open)
    answer = "" if use.is_required else answer
    lark = to_lark(reading.format, tools, beginning, parallel=use.parallel, ends=ends, strict=use.strict, answer=answer)
    return CallGrammar(lark, triggers)


def answer_grammar(rule: str, reading: Reading) -> str:
    """The grammar of an answer that is what `rule` says, after a thought if there is one."""
    return answer_to_lark(rule, reading.format, Beginning(False, reading.may_think, reading.is_open))


def find_triggers(format: ChatFormat, names: Sequence[str]) -> list[Trigger]:
    """What calls begin with."""
    if format.triggers:
        either = "|".join(map(re.escape, names))
        return [Trigger(TriggerKind.PATTERN, pattern.replace("NAMES", either)) for pattern in format.triggers]
    return [Trigger(TriggerKind.WORD, opening(word)) for island in format.calls for word in island.firsts]


def opening(word: str) -> str:
    """A literal without the brackets that it ends with, which models may put on a line of their own."""
    return word.rstrip("[{") or word
