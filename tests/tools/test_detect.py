"""Detection: formats of templates that nobody has seen yet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamahttp.chat_template import ChatTemplate
from llamahttp.tools.detect import CONTENT, common_prefix, common_suffix, detect, segments
from llamahttp.tools.events import Message
from llamahttp.tools.format import ChatFormat
from llamahttp.tools.parser import Parser

TURNS = """\
{%%- if tools %%}{{ tools | tojson }}{%% endif %%}
{%%- for message in messages %%}
    {{- '<|' ~ message.role ~ '|>' }}
    {%%- if message.reasoning_content %%}{{ '<think>' ~ message.reasoning_content ~ '</think>' }}{%% endif %%}
    {{- message.content }}
    {%%- if message.tool_calls %%}
        {{- %(opening)r }}
        {%%- for call in message.tool_calls %%}
            {%%- if not loop.first %%}{{ %(between)r }}{%% endif %%}
            {%%- set function = call.function %%}
            {{- %(call)s }}
        {%%- endfor %%}
        {{- %(closing)r }}
    {%%- endif %%}
    {{- '<|end|>\\n' }}
{%%- endfor %%}
{%%- if add_generation_prompt %%}{{ '<|assistant|>' }}{%% endif %%}"""

CALLS = {
    "object": """'{"name": "' ~ function.name ~ '", "arguments": ' ~ (function.arguments | tojson) ~ '}'""",
    "wrapped": """'{"type": "function", "function": ' ~ ({'name': function.name, 'parameters': function.arguments} | tojson) ~ '}'""",  # noqa: E501
    "with id": """{'id': call.id, 'name': function.name, 'args': function.arguments} | tojson""",
    "named": """{function.name: function.arguments} | tojson""",
    "tagged": """'<fn>' ~ function.name ~ '</fn><args>' ~ (function.arguments | tojson) ~ '</args>'""",
    "id first": """'<id>' ~ call.id ~ '<name>' ~ function.name ~ '<args>' ~ (function.arguments | tojson)""",
}
MARKS = st.sampled_from(["", "<calls>", "<calls>\n", "[CALLS]", "<|calls|>[", "\n\n<a b>", "TOOLS: "])
ARGUMENTS = {"a": 'x "y" <\n', "b": [1, {"c": None}], "d": {}}


def shown(template: ChatTemplate, *calls: dict[str, Any]) -> str:
    """How the template shows an assistant's calls."""
    wrapped = [
        {"id": f"call0000{i}", "type": "function", "function": {"name": "look", "arguments": json.dumps(call)}}
        for i, call in enumerate(calls)
    ]
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": wrapped}]
    return (
        template.render(messages, add_generation_prompt=False).rpartition("<|assistant|>")[2].removesuffix("<|end|>\n")
    )


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(CALLS)), MARKS, MARKS, st.sampled_from(["", ", ", "\n", "<|next|>"]), st.booleans())
def test_calls_in_any_marks(kind: str, opening: str, closing: str, between: str, is_each: bool) -> None:
    """Marks around all calls together, or around each."""
    call = f"({CALLS[kind]})"
    if is_each:
        call = f"({opening!r} ~ {call} ~ {closing!r})"
    parts = {"opening": "" if is_each else opening, "closing": "" if is_each else closing}
    template = ChatTemplate(TURNS % {"call": call, "between": between, **parts})
    format = detect(template)
    assert format.thought is not None
    assert format.thought.start == "<think>"
    if not format.calls:
        return
    text = shown(template, ARGUMENTS, {})
    for pieces in ([text], list(text)):
        parser = Parser(format, {"look": {}})
        message = Message.of([event for piece in pieces for event in parser.feed(piece)] + parser.finish())
        called = [(call.name, json.loads(call.arguments)) for call in message.calls]
        assert called[0] == ("look", ARGUMENTS)
        if opening.strip():
            assert called == [("look", ARGUMENTS), ("look", {})]
            assert parser.has_whole_calls


@pytest.mark.parametrize("kind", CALLS)
def test_each_kind_is_found(kind: str) -> None:
    parts = {"opening": "<calls>", "closing": "</calls>", "between": "\n"}
    assert detect(ChatTemplate(TURNS % {"call": CALLS[kind], **parts})).calls


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{{ messages }}",
        "{{ raise_exception('no') }}",
        "{{ messages | tojson }}{{ tools | tojson if tools }}",
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}",  # noqa: E501
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}"
        "{{ c.function.name }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{{ m.role }}{{ m.tool_calls | tojson if m.tool_calls else m.content }}{% endfor %}",
        "{{ messages[-1].content }}{{ messages[-1].content }}{{ messages[-1].tool_calls }}",
    ],
)
def test_odd_templates_are_no_error(source: str) -> None:
    assert isinstance(detect(ChatTemplate(source)), ChatFormat)


def test_tags_are_not_cut_in_half() -> None:
    assert segments("a<|b|>\n[TOOL_CALLS][{") == ["a", "<|b|>", "\n", "[TOOL_CALLS]", "[", "{"]
    assert common_prefix("<|tool_call|>x", "<|tool_sep|>x") == ""
    assert common_suffix("</a>\n<b>", "</c>\n<b>") == "\n<b>"
    assert common_prefix(f"<a>{CONTENT}", f"<a>{CONTENT}s") == "<a>"
