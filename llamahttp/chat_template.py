"""Chat templates: from messages to the prompt that the model was trained on.

Pure but for the clock that some templates ask for the date. The inputs are those of Hugging Face's
transformers; what a template cannot take is adapted to it as llama-server does, by capabilities
found once, with probes.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError

from .errors import InvalidRequest
from .sandbox import FAULTS, Sandbox
from .template_caps import Message, find_caps
from .template_messages import Adapter, last_text, without_needless_refusals
from .template_probes import Probes
from .text import encodable

MAX_MESSAGE_CHARS = 2000
"""Longest message of a template that refuses a conversation, in characters; the rest of it is left out."""

THOUGHT_ENDS = ("</think>", "[/THINK]", "<|END_THINKING|>", "<channel|>", "<|channel|>", "</mm:think>")
"""What ends the thoughts of the models that there are templates of."""

GEMMA_4_END, GEMMA_4_BEGIN = "<turn|>\n", "<|turn>model\n"
"""Gemma 4's templates take text beside a call for the whole answer, and leave out the beginning of the next one."""


class ChatTemplate:
    """One compiled template, rendered within the bounds of `sandbox`, on one thread at a time."""

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        name: str = "chat template",
        strip_bos: bool = False,
        strip_eos: bool = False,
        tool_use: ChatTemplate | None = None,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`strip_bos` and `strip_eos` are for vocabularies that add these tokens themselves when tokenizing.

        `tool_use` is the variant that takes this one's place when there are tools.

        Raises InvalidRequest, which names the line, for a template that is not valid Jinja.
        """
        self.source = source
        self.name = name
        self.bos, self.eos = bos, eos
        self.tool_use = tool_use
        self._strip_bos, self._strip_eos = strip_bos, strip_eos
        self._clock = clock
        self._sandbox = Sandbox()
        self._sandbox.globals |= {"raise_exception": _refuse, "strftime_now": self._strftime_now}
        try:
            self._template = self._sandbox.compile_bounded(without_needless_refusals(source))
        except FAULTS as error:
            raise InvalidRequest(self._explain(error)) from error
        self._probes = Probes()
        self.caps = find_caps(self._attempt)
        self.thinks = any(mark in source for mark in THOUGHT_ENDS)
        """It knows the end of a thought."""
        self._adapt = Adapter(self.caps, source)

    @property
    def fault(self) -> str:
        """Why it renders no chat at all; empty if it renders some."""
        return self._probes.fault

    def for_tools(self, tools: Sequence[dict[str, Any]] | None) -> ChatTemplate:
        """The template that is made for such tools, this one or its variant."""
        return self.tool_use if tools and self.tool_use else self

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        kwargs: Mapping[str, Any] = {},
    ) -> str:
        """The prompt for `messages`, left as they are. `kwargs` (`chat_template_kwargs`) become variables.

        Raises InvalidRequest with the template's own message if it refuses the conversation, and for whatever
        goes wrong in it or exceeds the sandbox's bounds.
        """
        prompt = self._render(self._adapt(messages), tools, add_generation_prompt, _variables(kwargs))
        if add_generation_prompt and prompt.endswith(GEMMA_4_END):
            prompt += GEMMA_4_BEGIN
        if self._strip_eos:
            prompt = prompt.removesuffix(self.eos)
        return self._without_bos(prompt)

    def render_continued(
        self,
        messages: Sequence[Message],
        field: str = "content",
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        kwargs: Mapping[str, Any] = {},
    ) -> str | None:
        """The prompt for `messages` up to where `field` of the last one ends, as transformers' continue_final_message.

        `field` is "content" or "reasoning_content", which is text or ends with a part that is text. None if the
        template leaves a part of it out. Raises InvalidRequest like `render`.
        """
        messages = self._adapt(messages)
        last = messages[-1]
        text = last_text(last.get(field))
        for name in {"thinking", "reasoning", field} if field == "reasoning_content" else {field}:
            if name in last:
                last[name] = _marked(last[name])
        prompt = self._render(messages, tools, False, _variables(kwargs))
        before, mark, after = prompt.rpartition(_MARK)
        if not mark or text.strip() not in prompt:
            return None
        # a template that trims the text has taken the space away that follows the mark
        return self._without_bos(before if after.startswith(" ") else before.rstrip())

    def _without_bos(self, prompt: str) -> str:
        return prompt.removeprefix(self.bos) if self._strip_bos else prompt

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        now = self._clock()
        inputs = {
            "datetime": now.strftime("%b %d %Y"),
            "date_string": now.strftime("%d %b %Y"),
            **variables,
            "messages": messages,
            "bos_token": self.bos,
            "eos_token": self.eos,
            "add_generation_prompt": add_generation_prompt,
        }
        if tools:
            inputs["tools"] = list(tools)
        try:
            return encodable(self._sandbox.render(self._template, inputs))
        except FAULTS as error:
            raise InvalidRequest(self._explain(error)) from error

    def _attempt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), **kwargs: Any) -> str:
        """The prompt for messages that are not adapted, as a probe."""
        return self._probes.make(lambda: self._render(messages, tools, True, _variables(kwargs)))

    def probe(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        kwargs: Mapping[str, Any] = {},
    ) -> str:
        """The prompt for `messages`; empty if the template refuses them, or has had too much time for its probes."""
        return self._probes.make(
            lambda: self.render(messages, tools=tools, add_generation_prompt=add_generation_prompt, kwargs=kwargs)
        )

    def _strftime_now(self, format: str) -> str:
        return self._clock().strftime(format)

    def _explain(self, error: BaseException) -> str:
        """The message for a client: the template's own if it has one, else what failed and in which line."""
        if isinstance(error, _Refusal):
            return _presentable(str(error))
        lineno = _line(error)
        message = error.message if isinstance(error, TemplateSyntaxError) else str(error)
        reason = _presentable(message or type(error).__name__)
        return f"{self.name}{f', line {lineno}' if lineno else ''}: {reason}"


_MARK = "\ufdd0CONTINUED\ufdd1"
"""Stands behind what is continued; of code points that are never used for text."""


def _marked(value: Any) -> Any:
    """A field of a message with the mark behind its text."""
    text = f"{last_text(value)}{_MARK} "
    return [*value[:-1], {"type": "text", "text": text}] if isinstance(value, list) else text


class _Refusal(TemplateError):
    """The template called `raise_exception`."""


def _refuse(message: object) -> NoReturn:
    raise _Refusal(str(message))


def _presentable(message: str) -> str:
    """A message that may hold anything, since templates put what they were given into it, as one that can be sent."""
    if len(message) > MAX_MESSAGE_CHARS:
        message = f"{message[:MAX_MESSAGE_CHARS]}..."
    return encodable(message)


def _line(error: BaseException) -> int | None:
    """The innermost line of the template that an error passed through."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    frames = traceback.walk_tb(error.__traceback__)
    lines = [lineno for frame, lineno in frames if frame.f_code.co_filename == "<template>"]
    return lines[-1] if lines else None


def _variables(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """`kwargs` and the names under which templates know some of them. Raises InvalidRequest."""
    thinking = kwargs.get("enable_thinking", True)
    if not isinstance(thinking, bool):
        raise InvalidRequest(f'invalid type for "enable_thinking" (expected boolean, got {thinking!r})')
    variables: dict[str, Any] = {}
    preserve = kwargs.get("preserve_reasoning")
    if isinstance(preserve, bool):
        variables["preserve_thinking"] = preserve
        for name in ("clear_thinking", "truncate_history_thinking", "drop_thinking"):
            variables[name] = not preserve
    if isinstance(kwargs.get("reasoning_effort"), str):
        variables["reasoning_strength"] = kwargs["reasoning_effort"]
    return variables | dict(kwargs)
