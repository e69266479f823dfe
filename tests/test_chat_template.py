"""Chat templates of the common styles, what they are given, and the bounds they run in."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from llamahttp.builtin_templates import CHATML
from llamahttp.chat_template import ChatTemplate
from llamahttp.errors import InvalidRequest
from llamahttp.tools.detect import detect

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi <é>"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]
USER = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

HEADERS = """\
{{ bos_token }}
{%- for message in messages %}
    {%- if loop.first and tools is defined %}
        {{- '<|h|>tools\\n' + (tools | tojson(indent=2)) }}
    {%- endif %}
    {{- '<|h|>' ~ message['role'] ~ '\\n' ~ message['content'] | trim ~ '<|e|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|h|>assistant\\n' }}{% endif %}"""

STRICT = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate') }}
    {%- endif %}
    {{- '[' + message['role'] + ']' + message['content'] }}
{%- endfor %}"""

PARTS = """\
{%- for message in messages %}{{ message.role }}:
    {%- for part in message.content %}
        {%- if part.type == 'text' %}{{ '(' + part.text + ')' }}{% endif %}
    {%- endfor %}
{%- endfor %}"""

EITHER = """\
{%- for message in messages %}
    {%- if message.content is string %}{{ message.content }}
    {%- else %}{% for part in message.content %}{{ '(' ~ part.text ~ ')' }}{% endfor %}
    {%- endif %}
{%- endfor %}"""

CALLS = """\
{%- for message in messages %}
    {{- message.role + ':' + message.content }}
    {%- for call in message.tool_calls or [] %}
        {{- '<call>' + call.function.name + ' ' }}ARGUMENTS</call>
    {%- endfor %}
{%- endfor %}"""


def calling(arguments: str) -> list[dict[str, Any]]:
    """A conversation in which the assistant calls a tool with `arguments`."""
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return [*USER, {"role": "assistant", "content": None, "tool_calls": [call]}]


def test_chatml() -> None:
    template = ChatTemplate(CHATML)
    assert template.render(CONVERSATION) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi <é><|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    without = template.render(CONVERSATION, add_generation_prompt=False)
    assert without.endswith("Bye<|im_end|>\n")


def test_blocks_leave_no_white_space_behind() -> None:
    assert ChatTemplate("a\n  {% if true %}\nb\n  {% endif %}\nc").render(USER) == "a\nb\nc"


def test_headers_with_tools_as_indented_json() -> None:
    prompt = ChatTemplate(HEADERS, bos="<s>").render(USER, tools=[{"b": "é", "a": 1}])
    assert prompt == '<s><|h|>tools\n[\n  {\n    "b": "é",\n    "a": 1\n  }\n]<|h|>user\nHi<|e|><|h|>assistant\n'


def test_without_tools_the_variable_is_undefined() -> None:
    template = ChatTemplate("{{ tools is defined }}")
    assert template.render(USER, tools=[]) == "False"
    assert template.render(USER, tools=[WEATHER]) == "True"


def test_differs_from_llama_server_a_prompt_that_is_not_wanted_is_false() -> None:
    """llama-server leaves add_generation_prompt undefined, so that templates which then add the prompt always do."""
    template = ChatTemplate("{{ add_generation_prompt is defined }}{{ add_generation_prompt }}")
    assert template.render(USER, add_generation_prompt=False) == "TrueFalse"


def test_differs_from_transformers_the_date_is_given() -> None:
    """Templates have a fixed date of their own for those who give none."""
    template = ChatTemplate("{{ date_string | default('26 Jul 2024') }}", clock=lambda: datetime(2031, 2, 3))
    assert template.render(USER) == "03 Feb 2031"


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_have_the_names_that_templates_read(name: str) -> None:
    template = ChatTemplate("{% for m in messages %}{{ m.thinking }}|{{ m.reasoning_content }}{% endfor %}")
    assert template.render([{"role": "assistant", "content": "a", name: "hm"}]) == "hm|hm"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("{'b': 'é<', 'a': [1, none]} | tojson", '{"b": "é<", "a": [1, null]}'),
        ("{'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':'))", '{"a":2,"b":1}'),
        ("'é' | tojson(ensure_ascii=true)", '"\\u00e9"'),
        ("{'a': 1} | tojson(indent=1)", '{\n "a": 1\n}'),
    ],
)
def test_tojson(expression: str, text: str) -> None:
    assert ChatTemplate("{{ " + expression + " }}").render(USER) == text


def test_dates_come_from_the_clock() -> None:
    source = "{{ strftime_now('%Y-%m-%d') }}|{{ datetime }}|{{ date_string }}"
    template = ChatTemplate(source, clock=lambda: datetime(2031, 2, 3))
    assert template.render(USER) == "2031-02-03|Feb 03 2031|03 Feb 2031"


def test_what_transformers_refuses_but_llama_server_allows() -> None:
    assert ChatTemplate("{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}").render(USER) == "[1, 2]"
    assert ChatTemplate("{{ 'a: ' + messages[0].name + '.' }}{{ x + 'b' }}").render(USER) == "a: .b"
    assert ChatTemplate("{{ '<'|safe + '\"' }}{{ '<' | e }}").render(USER) == '<"&lt;'


def test_loop_controls_and_the_generation_tag() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}"
        "{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}"
    )
    assert ChatTemplate(source).render(CONVERSATION) == "Be brief.Hi <é>"


def test_bos_is_left_out_where_the_vocabulary_adds_it() -> None:
    assert ChatTemplate(HEADERS, bos="<s>").render(USER).startswith("<s><|h|>")
    assert ChatTemplate(HEADERS, bos="<s>", strip_bos=True).render(USER).startswith("<|h|>")
    assert ChatTemplate("a{{ eos_token }}", eos="</s>", strip_eos=True).render(USER) == "a"
    assert ChatTemplate("a", strip_bos=True, strip_eos=True).render(USER) == "a"


def test_kwargs_become_variables_but_do_not_replace_the_conversation() -> None:
    template = ChatTemplate("{{ messages[0].content }} {{ mood }} {{ enable_thinking }}")
    assert template.render(USER, kwargs={"mood": "good", "messages": [], "enable_thinking": False}) == "Hi good False"


def test_differs_from_llama_server_thinking_is_left_to_the_template_unless_asked_for() -> None:
    """llama-server defines enable_thinking as true for everybody; transformers, like us, leaves it undefined."""
    template = ChatTemplate("{{ enable_thinking is defined }}")
    assert template.render(USER) == "False"
    assert template.render(USER, kwargs={"enable_thinking": False}) == "True"


def test_kwargs_known_under_other_names() -> None:
    template = ChatTemplate("{{ preserve_thinking }}{{ clear_thinking }} {{ reasoning_strength }}")
    assert template.render(USER, kwargs={"preserve_reasoning": True, "reasoning_effort": "low"}) == "TrueFalse low"
    assert template.render(USER, kwargs={"preserve_reasoning": True, "clear_thinking": True}) == "TrueTrue "


def test_enable_thinking_must_be_boolean() -> None:
    with pytest.raises(InvalidRequest, match="expected boolean, got 'no'"):
        ChatTemplate(CHATML).render(USER, kwargs={"enable_thinking": "no"})


# messages that the template can not take as they are


def test_developer_is_system_but_for_templates_that_know_it() -> None:
    messages = [{"role": "developer", "content": "Be brief."}, *USER]
    assert ChatTemplate(HEADERS).render(messages).startswith("<|h|>system\nBe brief.")
    assert ChatTemplate(HEADERS + "{# <|channel|> #}").render(messages).startswith("<|h|>developer\nBe brief.")


def test_null_content_and_other_null_fields() -> None:
    template = ChatTemplate("{% for m in messages %}[{{ m.content }}{{ m.tool_calls is defined }}]{% endfor %}")
    messages = [
        {"role": "assistant", "content": None, "tool_calls": None},
        {"role": "assistant", "tool_calls": []},
    ]
    assert template.render(messages) == "[False][False]"


def test_a_system_message_is_merged_where_the_role_is_refused() -> None:
    template = ChatTemplate(STRICT, bos="<s>")
    assert not template.caps.system_role
    assert template.render(CONVERSATION) == "<s>[user]Be brief.\nHi <é>[assistant]Hello![user]Bye"
    assert template.render(CONVERSATION[:1]) == "<s>[user]Be brief."


def test_parts_become_text_where_the_template_prints_content() -> None:
    template = ChatTemplate(CHATML)
    assert template.caps.string_content and not template.caps.typed_content
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert "user\none\ntwo<|im_end|>" in template.render([{"role": "user", "content": parts}])


def test_text_becomes_a_part_where_the_template_iterates() -> None:
    template = ChatTemplate(PARTS)
    assert template.caps.typed_content and not template.caps.string_content
    assert template.render(CONVERSATION[:2]) == "system:(Be brief.)user:(Hi <é>)"


def test_content_stays_as_it_is_where_the_template_takes_both() -> None:
    template = ChatTemplate(EITHER)
    assert template.caps.typed_content and template.caps.string_content
    parts = [{"type": "text", "text": "one"}]
    assert template.render([*USER, {"role": "user", "content": parts}]) == "Hi(one)"


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {}}, "text", {"type": "text"}, {}])
def test_a_part_that_is_no_text_is_refused(part: object) -> None:
    with pytest.raises(InvalidRequest, match="content part"):
        ChatTemplate(CHATML).render([{"role": "user", "content": [part]}])


def test_arguments_become_an_object_for_templates_that_print_json() -> None:
    template = ChatTemplate(CALLS.replace("ARGUMENTS", "{{ call.function.arguments | tojson }}"))
    assert template.caps.tool_calls and template.caps.object_arguments
    prompt = template.render(calling('{"b":"é","a":1}'))
    assert prompt == 'user:Hiassistant:<call>weather {"b": "é", "a": 1}</call>'


def test_arguments_stay_text_for_templates_that_print_it() -> None:
    template = ChatTemplate(CALLS.replace("ARGUMENTS", "{{ call.function.arguments }}"))
    assert template.caps.tool_calls and not template.caps.object_arguments
    assert template.render(calling('{"b":1}')) == 'user:Hiassistant:<call>weather {"b":1}</call>'


def test_arguments_that_are_no_json_reach_the_template_as_they_are() -> None:
    template = ChatTemplate(CALLS.replace("ARGUMENTS", "{{ call.function.arguments | tojson }}"))
    assert template.render(calling('{"b":')).endswith('<call>weather "{\\"b\\":"</call>')


@pytest.mark.parametrize(
    ("arguments", "end"),
    [('{"b": "\\ud800"}', '<call>weather {"b": "?"}</call>'), ("[" * 100_000, '[[["</call>')],
    ids=["half a character", "nested too deep"],
)
def test_arguments_that_python_reads_but_cannot_send_on(arguments: str, end: str) -> None:
    template = ChatTemplate(CALLS.replace("ARGUMENTS", "{{ call.function.arguments | tojson }}"))
    assert template.render(calling(arguments)).endswith(end)


def test_the_messages_given_are_not_changed() -> None:
    messages = calling('{"b":1}')
    ChatTemplate(CALLS.replace("ARGUMENTS", "{{ call.function.arguments | tojson }}")).render(messages)
    assert messages == calling('{"b":1}')


def test_capabilities_by_llama_servers_names() -> None:
    assert ChatTemplate(CHATML).caps.to_props() == {
        "supports_string_content": True,
        "supports_typed_content": False,
        "supports_system_role": True,
        "supports_tools": False,
        "supports_tool_calls": False,
        "supports_parallel_tool_calls": False,
        "supports_object_arguments": False,
        "supports_preserve_reasoning": False,
        "supports_reasoning_effort": False,
    }


def test_capabilities_of_reasoning() -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{% if preserve_thinking %}{{ m.reasoning_content }}{% endif %}"
        "{% endfor %}{{ reasoning_effort }}"
    )
    caps = ChatTemplate(source).caps
    assert caps.preserve_reasoning and caps.reasoning_effort


# continued messages

ANSWER = "<{{ m.role }}>{% if m.thinking %}[{{ m.thinking }}]{% endif %}{{ m.content CONTENT }}</>"


def continued(shown: str = "", field: str = "content", **message: Any) -> str | None:
    source = "{{ bos_token }}{% for m in messages %}" + ANSWER.replace("CONTENT", shown) + "{% endfor %}"
    template = ChatTemplate(source, bos="<s>", strip_bos=True)
    return template.render_continued([*USER, {"role": "assistant", "content": "", **message}], field)


@pytest.mark.parametrize("content", ["Well ", "", " \n", "</>", "Hi"])
def test_the_prompt_ends_where_the_continued_message_does(content: str) -> None:
    assert continued(content=content) == f"<user>Hi</><assistant>{content}"


def test_what_the_template_trims_stays_trimmed() -> None:
    assert continued("| trim", content=" Well ") == "<user>Hi</><assistant>Well"


def test_thoughts_are_continued() -> None:
    assert continued(field="reasoning_content", reasoning_content="Hm ") == "<user>Hi</><assistant>[Hm "
    assert continued(reasoning_content="Hm", content="So") == "<user>Hi</><assistant>[Hm]So"


def test_parts_are_continued_where_the_last_one_ends() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert continued(content=parts) == "<user>Hi</><assistant>one\ntwo"
    template = ChatTemplate(EITHER)
    assert template.render_continued([{"role": "assistant", "content": parts}]) == "(one)(two"
    assert template.render_continued([{"role": "assistant", "content": []}]) == "("


def test_what_the_template_leaves_out_cannot_be_continued() -> None:
    assert continued("| length", content="Well") is None
    assert continued("| truncate(3, true, '')", content="Well, well") is None
    assert continued(field="reasoning_content", content="Well") is None


# errors


def test_what_the_template_raises_is_the_message() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatTemplate(STRICT).render([*USER, *USER])
    assert str(caught.value) == "Roles must alternate"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{% for %}", "line 2"),
        ("{{ 'a }}", "line 1"),
        ("a\n{{ b | nosuchfilter }}", "line 2: No filter named 'nosuchfilter'"),
        ("(" * 5 + "{{ " + "(" * 5000, "chat template"),
        ("{% include 'x' %}{% extends 'y' %}{% endfor %}", "line 1"),
    ],
)
def test_a_template_that_is_no_jinja(source: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ChatTemplate(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n{{ messages[0].a.b }}", "line 2: 'dict object' has no attribute 'a'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'a' + 1 }}", "str"),
        ("{{ x | tojson }}", "not JSON serializable"),
        ("{{ x.__class__ }}{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.clear() }}", "unsafe"),
        ("{% include 'x' %}", "no loader"),
        ("{{ y }}{{ y + 1 }}", "'y' is undefined"),
    ],
)
def test_a_mistake_in_a_template_is_the_requests_error(source: str, message: str) -> None:
    template = ChatTemplate(source)
    with pytest.raises(InvalidRequest, match=message):
        template.render(USER)


# bounds


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% if range(99999) | list | sum %}{% endif %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}",
        "{% for x in range(99) recursive %}{{ loop(range(99)) }}{% endfor %}",
    ],
)
def test_a_template_that_runs_on_is_stopped(source: str) -> None:
    template = ChatTemplate("{% if messages[0].content == 'go' %}" + source + "{% endif %}")
    start = time.monotonic()
    with pytest.raises(InvalidRequest, match=r"longer than 1 s|recursion"):
        template.render([{"role": "user", "content": "go"}])
    assert time.monotonic() - start < 5


LOOPS = "{% for i in range(10000) %}{% for j in range(10000) %}{% for k in range(10000) %}{% endfor %}"
LOOPS += "{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (LOOPS, "longer than 1 s"),
        ("{% if tools %}" + LOOPS + "{% endif %}", ""),
        # each short enough by itself
        ("{% for i in range(20) %}{% for j in range(20000) %}{% endfor %}{% endfor %}", ""),
    ],
)
def test_a_slow_template_does_not_hold_up_the_start(source: str, fault: str) -> None:
    started = time.thread_time()
    template = ChatTemplate(source)
    detect(template)
    assert time.thread_time() - started < 4, "at most 1 s of probes, and the last of at most 1 s"
    assert fault in template.fault
    assert bool(fault) == bool(template.fault)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{{ foo.bar.baz }}", "chat template, line 1: 'foo' is undefined"),
        ("{{ raise_exception('Not\nfor you.') }}", "Not\nfor you."),
        ("\n{% include 'x' %}", "line 2: no loader"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    ],
)
def test_a_template_that_renders_nothing_says_why(source: str, fault: str) -> None:
    assert fault in ChatTemplate(source).fault


@pytest.mark.parametrize("condition", ["messages[0].role == 'system'", "tools", "messages | length > 1"])
def test_a_template_that_renders_some_chats_has_no_fault(condition: str) -> None:
    assert not ChatTemplate("{% if not (" + condition + ") %}{{ raise_exception('no') }}{% endif %}x").fault


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10 ** 9",
        "10 ** 9 * 'a'",
        "[1] * 10 ** 9",
        "2 ** (10 ** 10)",
        "'a'.ljust(10 ** 9)",
        "'a'.zfill(width=10 ** 9)",
        "'a' | center(10 ** 9)",
        "'a' | indent(10 ** 9)",
        "('a\\n' * 10 ** 6) | indent('b' * 10 ** 6)",
        "('a' * 10 ** 6).replace('a', 'b' * 10 ** 6)",
        "('a' * 10 ** 6) | replace('a', 'b' * 10 ** 6)",
        "('b' * 10 ** 6).join('a' * 10 ** 6)",
        "range(10 ** 5) | join('b' * 10 ** 6)",
        "'\\t'.expandtabs(10 ** 9)",
        "'%1000000000d' % 1",
        "'%*d' % (10 ** 9, 1)",
        "'%1000000000d' | format(1)",
        "'{:1000000000}'.format(1)",
        "'{:{}}'.format(1, 10 ** 9)",
        "'{a:1000000000}'.format_map({'a': 1})",
        "'a'.translate({97: 'b' * 10 ** 6})",
        "[1] | batch(10 ** 9, 'a') | list",
        "{'a': 1} | tojson(indent=10 ** 9)",
        "range(10 ** 6) | list",
    ],
)
def test_text_that_would_be_huge_is_not_made(expression: str) -> None:
    template = ChatTemplate("{{ " + expression + " }}")
    with pytest.raises(InvalidRequest, match=r"more than|Range too big"):
        template.render(USER)


@pytest.mark.parametrize(
    "turn",
    [
        "{% set ns.s = ns.s ~ ns.s %}",
        "{% set ns.s = ns.s + ns.s %}",
        "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}",
        "{% set ns.s = double(ns.s) %}",
        "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.n = ns.n * ns.n %}",
    ],
)
def test_what_doubles_at_each_turn_is_stopped(turn: str) -> None:
    source = (
        "{% macro double(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(s='a', l=[1], n=3) %}"
        "{% for i in range(60) %}" + turn + "{% endfor %}"
    )
    template = ChatTemplate(source)
    with pytest.raises(InvalidRequest, match="more than"):
        template.render(USER)


def test_a_long_output_is_stopped() -> None:
    template = ChatTemplate("{% for i in range(9999) %}{{ messages[0].content }}{% endfor %}")
    assert len(template.render(USER)) == 19998
    with pytest.raises(InvalidRequest, match="more than 16777216 characters"):
        template.render([{"role": "user", "content": "a" * 100000}])


def test_a_template_is_usable_after_it_was_stopped() -> None:
    template = ChatTemplate("{% for i in range(messages|length * 100) %}{{ messages[0].content }}{% endfor %}")
    with pytest.raises(InvalidRequest, match="more than"):
        template.render([{"role": "user", "content": "a" * 1000000}])
    assert template.render(USER) == "Hi" * 100
