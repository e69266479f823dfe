"""The parser: thoughts, content and calls, whatever a model writes and however it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.tools.events import CallBegin, CallEnd, CallText, Content, Event, Message, Reasoning, append
from llamahttp.tools.format import ChatFormat, Island, Thought, mark
from llamahttp.tools.formats import FUNCTIONARY_3_2, HARMONY, KIMI_K2, LFM2, MUSE, NAME_ARGUMENTS
from llamahttp.tools.notation import gemma_arguments
from llamahttp.tools.parser import Parser
from llamahttp.tools.pattern import Arguments, Call, Fields, Key, Many, Name, NamedObject, Text, Value, seq, soft
from llamahttp.tools.voice import ThoughtsIn

THINK = Thought("<think>\n", "\n</think>\n\n")
HERMES = ChatFormat("hermes", THINK, (Island(Call(seq("<tool_call>\n", NAME_ARGUMENTS, soft("\n</tool_call>")))),))
LLAMA = ChatFormat("llama", islands=(Island(Call(NAME_ARGUMENTS), is_weak=True),))
FIELD = seq("<parameter=", Key(), ">", Value("\n", "\n</parameter>"))
CODER = ChatFormat(
    "coder",
    Thought("<think>\n", "\n</think>\n\n", ends_with_call=True),
    (
        Island(
            Call(seq("<tool_call>\n<function=", Name(), ">\n", Fields(FIELD), "</function>", soft("\n</tool_call>")))
        ),
    ),
)
TAGGED = ChatFormat(
    "tagged", islands=(Island(seq("[CALLS]", Many(Call(seq(Name(), "[ARGS]", Arguments())), ";"), soft("[/CALLS]"))),)
)
NAMED = ChatFormat("named", islands=(Island(seq("<|p|>[", Many(Call(NamedObject()), ", "), soft("]<|s|>"))),))
WRAPPED = ChatFormat("wrapped", THINK, (mark("<|START|>"), mark("<|END|>")))

TOOLS: dict[str, Any] = {
    "look": {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "n": {"type": "integer"},
            "maybe": {"type": ["string", "null"]},
            "deep": {"$ref": "#/$defs/deep"},
        },
        "$defs": {"deep": {"type": "object"}},
    }
}


def parse(parts: Sequence[str], format: ChatFormat = HERMES, *, is_cut: bool = False, **options: Any) -> list[Event]:
    parser = Parser(format, TOOLS, make_id=lambda n: f"id{n}", **options)
    events: list[Event] = []
    for part in [*map(parser.feed, parts), parser.finish(is_cut=is_cut)]:
        for event in part:
            append(events, event)
    return events


def splits(text: str) -> Iterator[list[str]]:
    yield from ([text[:i], text[i:]] for i in range(1, len(text)))
    yield list(text)


def parse_all(text: str, format: ChatFormat = HERMES, **options: Any) -> list[Event]:
    """The events of a text, which are the same however it is split."""
    whole = parse([text], format, **options)
    for parts in splits(text):
        assert parse(parts, format, **options) == whole, parts
    return whole


def call(index: int, arguments: str, name: str = "look", id_call: str = "id32") -> list[Event]:
    return [CallBegin(index, id_call, name), CallText(index, arguments), CallEnd(index)]


# --- thoughts

CASES = [
    ("hello", False, "", "hello"),
    ("<think>\nwell\n</think>\n\nhello", False, "well", "hello"),
    ("\n <think>well</think>hello <think>", False, "well", "hello <think>"),
    ("well\n</think>\n\nhello </think>", True, "well", "hello </think>"),
    ("<thin air", False, "", "<thin air"),
    ("<thi", False, "", "<thi"),
    ("  \n", False, "", "  \n"),
    (" \n <b", False, "", " \n <b"),
    ("<think></think>hello", False, "", "hello"),
    ("\n\n</think>\n\n", True, "", ""),
    ("a < b </thin\n c", True, "a < b </thin\n c", ""),
    ("never ended  ", True, "never ended", ""),
    (" two  words \n</think> so", True, "two  words", "so"),
    ("", True, "", ""),
    ("well</think>hello  ", True, "well", "hello  "),
]


@pytest.mark.parametrize(("text", "is_open", "reasoning", "content"), CASES)
def test_thoughts(text: str, is_open: bool, reasoning: str, content: str) -> None:
    for format in (HERMES, HERMES.without_calls()):
        message = Message.of(parse_all(text, format, is_open=is_open))
        assert (message.reasoning, message.content, message.calls) == (reasoning, content, [])


def test_thoughts_go_out_as_they_come() -> None:
    parser = Parser(HERMES, is_open=True)
    shown = [parser.feed(part) for part in ["\n", "one", " two", "\n", "three<", "x"]]
    assert shown == [[], [Reasoning("one")], [Reasoning(" two")], [], [Reasoning("\nthree")], [Reasoning("<x")]]


def test_after_its_thought_an_answer_without_calls_is_plain() -> None:
    parser = Parser(HERMES.without_calls(), is_open=True)
    states = []
    for part in ("a", "</think>", "\n", "b"):
        parser.feed(part)
        states.append(parser.is_plain)
    assert states == [False, False, False, True]


@pytest.mark.parametrize(
    ("prompt", "thought"), [("x<think>\n", "<think>\n"), ("x<think>", "<think>"), ("x", ""), ("<think>y", "")]
)
def test_prompts_that_begin_a_thought(prompt: str, thought: str) -> None:
    assert THINK.opening(prompt) == thought


def test_thoughts_can_stay_in_the_content() -> None:
    text = "<think>\nwell <tool_call>\n</think>\n\nhello"
    assert parse_all(text, thoughts=ThoughtsIn.CONTENT) == [Content(text)]


def test_thoughts_can_be_in_both() -> None:
    text = "<think>\nwell\n</think>\n\nhello"
    for parts in ([text], *splits(text)):
        message = Message.of(parse(parts, thoughts=ThoughtsIn.BOTH))
        assert (message.reasoning.strip(), message.content) == ("well", text)
    opened = Message.of(parse(["we", "ll</think>hello"], thoughts=ThoughtsIn.BOTH, is_open=True))
    assert (opened.reasoning, opened.content) == ("well", "<think>well</think>hello")


def test_a_thought_may_end_with_a_call() -> None:
    text = "hm\n<tool_call>\n<function=look>\n</function>\n</tool_call>"
    assert parse_all(text, CODER, is_open=True) == [Reasoning("hm"), *call(0, "{}")]
    assert parse_all("hm <tool_call>", HERMES, is_open=True) == [Reasoning("hm <tool_call>")]


def test_marks_are_not_shown() -> None:
    text = "<think>hm</think><|START|>Hello <|b|><|END|>"
    assert parse_all(text, WRAPPED) == [Reasoning("hm"), Content("Hello <|b|>")]


# --- calls


def test_content_and_calls() -> None:
    text = (
        '<think>\nhm\n</think>\n\nWait. \n<tool_call>\n{"name": "look", "arguments": {"path": "x\\"}"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>\n'
    )
    assert parse_all(text) == [
        Reasoning("hm"),
        Content("Wait."),
        *call(0, '{"path": "x\\"}"}'),
        *call(1, "{}"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"arguments": {"n": 1}, "name": "look"}',
        '{"type": "function", "name": "look", "more": [{"name": "x"}], "arguments": {"n": 1}}',
        '{"name":"look","arguments":"{\\"n\\": 1}"}',
        '\n\t{ "name" : "look" , "arguments" : {"n": 1} }\n',
    ],
)
def test_members_come_as_they_like(text: str) -> None:
    assert parse_all(f"<tool_call>{text}</tool_call>") == call(0, '{"n": 1}')


def test_a_call_without_arguments() -> None:
    assert parse_all('<tool_call>{"name": "look"}</tool_call>') == call(0, "{}")


def test_the_end_may_be_missing() -> None:
    assert parse_all('<tool_call>{"name": "look", "arguments": {"n": 1}') == call(0, '{"n": 1}')
    assert parse_all('[CALLS]look[ARGS]{"n": 1}', TAGGED) == call(0, '{"n": 1}')


def test_arguments_go_out_as_they_come() -> None:
    parser = Parser(HERMES, TOOLS, make_id=lambda n: "id")
    shown = [parser.feed(part) for part in ['<tool_call>{"name": "lo', 'ok", "arguments": {"pa', 'th": "a', 'b"', "}}"]]
    assert shown == [
        [],
        [CallBegin(0, "id", "look"), CallText(0, '{"pa')],
        [CallText(0, 'th": "a')],
        [CallText(0, 'b"')],
        [CallText(0, "}"), CallEnd(0)],
    ]


def test_raw_text_becomes_json_as_it_comes() -> None:
    parser = Parser(CODER, TOOLS, make_id=lambda n: "id")
    parser.feed("<tool_call><function=look><parameter=path>\n")
    shown = [parser.feed(part) for part in ['a "q', '" <\n', "/", "\n</para", "meter>"]]
    assert shown == [
        [CallText(0, 'a \\"q')],
        [CallText(0, '\\" <')],
        [CallText(0, "\\n/")],
        [],
        [CallText(0, '"')],
    ]


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("path", "12", "12"),
        ("path", "", ""),
        ("path", "\n", "\n"),
        ("path", "null", "null"),
        ("n", "12", 12),
        ("n", "\n 12 ", 12),
        ("n", "many", "many"),
        ("maybe", "null", None),
        ("maybe", "12", "12"),
        ("deep", '{"a": [1]}', {"a": [1]}),
        ("deep", "{'a': [True, None]}", {"a": [True, None]}),
        ("unknown", "[1]", [1]),
        ("unknown", "a\tb", "a\tb"),
    ],
)
def test_types_of_raw_values(key: str, raw: str, value: object) -> None:
    text = f"<tool_call>\n<function=look>\n<parameter={key}>\n{raw}\n</parameter>\n</function>\n</tool_call>"
    (written,) = Message.of(parse_all(text, CODER)).calls
    assert json.loads(written.arguments) == {key: value}


def test_lists_of_calls() -> None:
    assert parse_all('[CALLS] look [ARGS] {"n": 1} ; look[ARGS]{} [/CALLS] so', TAGGED) == [
        *call(0, '{"n": 1}'),
        *call(1, "{}"),
        Content(" so"),
    ]
    assert parse_all('<|p|>[{"look": {"n": 1}}, {"look": {}}]<|s|>', NAMED) == [*call(0, '{"n": 1}'), *call(1, "{}")]


def test_ids_are_those_of_the_text() -> None:
    text = (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.look:3<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    )
    assert parse_all(text, KIMI_K2) == call(0, "{}", id_call="functions.look:3")


def test_harmony() -> None:
    text = (
        "<|channel|>analysis<|message|>hm <|end|><|start|>assistant<|channel|>commentary<|message|>Wait.<|end|>"
        '<|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{"n": 1}<|call|>'
    )
    assert parse_all(text, HARMONY, primer=HARMONY.primer) == [
        Reasoning("hm"),
        Content("Wait."),
        *call(0, '{"n": 1}'),
    ]
    text = ' to=functions.look<|channel|>commentary json<|message|>{"n": 1}'
    assert parse_all(text, HARMONY, primer=HARMONY.primer) == call(0, '{"n": 1}')
    text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>"
    for format in (HARMONY, HARMONY.without_calls()):
        assert parse_all(text, format, primer=HARMONY.primer) == [Reasoning("hm"), Content("Hello")]


def test_muse() -> None:
    text = " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>Hello"
    assert parse_all(text, MUSE, primer=MUSE.primer) == [Reasoning("hm"), Content("Hello")]


def test_functionary() -> None:
    text = 'all\nall is >> well >>>look\n{"n": 1}>>>look\n{}'
    assert parse_all(text, FUNCTIONARY_3_2, primer=">>>") == [
        Content("all is >> well"),
        *call(0, '{"n": 1}'),
        *call(1, "{}"),
    ]


# --- what models should not write


def wrong(text: str, format: ChatFormat = HERMES, **options: Any) -> list[Event]:
    """The events of a text in which something that was to be a call is none."""
    parser = Parser(format, TOOLS)
    parser.feed(text)
    parser.finish()
    assert parser.is_malformed
    assert not parser.has_whole_calls
    return parse_all(text, format, **options)


@pytest.mark.parametrize(
    "text",
    [
        "Write <tool_call> or <tool_call>[1] so",
        "<tool_call>",
        '<tool_call>{"nam',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "look", "arguments": [1]}</tool_call>',
        "<tool_call>{'name': 'look'}</tool_call>",
        "<tool_call><tool_call><tool_call>",
        '<tool_call>{"name": }',
    ],
)
def test_what_is_no_call_is_content(text: str) -> None:
    assert wrong(text) == [Content(text)]


def test_a_call_after_something_that_is_none() -> None:
    text = '<tool_call> is how. <tool_call>{"name": "look", "arguments": {}}</tool_call>'
    assert wrong(text) == [Content("<tool_call> is how."), *call(0, "{}")]


def test_broken_arguments_stay_arguments() -> None:
    text = 'x <tool_call>{"name": "look", "arguments": {"p": [}, "z"]}</tool_call> and so on'
    events = wrong(text)
    assert events[:3] == [Content("x"), CallBegin(0, "id32", "look"), CallText(0, '{"p": [}, "z"]')]
    assert CallEnd(0) not in events
    assert "z" not in Message.of(events).content


def test_a_tag_that_is_misspelt_does_not_leak() -> None:
    text = "<tool_call>\n<function=look>\n<parameter=path>\nx\n</parameter>\n<param=n>\n3\n</function></tool_call> Bye"
    events = wrong(text, CODER)
    assert Message.of(events).content == " Bye"
    assert CallEnd(0) not in events


def test_a_whole_call_whose_end_is_cut_off() -> None:
    text = 'So <tool_call>\n{"name": "look", "arguments": {"path": "a"}}\n</tool_call>'
    whole = parse_all(text)
    for n in range(text.index("}}") + 2, len(text)):
        assert parse_all(text[:n], is_cut=True) == whole


def test_a_call_that_is_cut_off() -> None:
    text = 'So <tool_call>{"name": "look", "arguments": {"path": "a'
    whole = parse_all(text, is_cut=True)
    assert whole == [Content("So"), CallBegin(0, "id32", "look"), CallText(0, '{"path": "a')]
    assert parse_all('So <tool_call>{"na', is_cut=True) == [Content("So")]
    tagged = "<tool_call>\n<function=look>\n<parameter=path>\nab"
    assert parse_all(tagged, CODER, is_cut=True) == [CallBegin(0, "id32", "look"), CallText(0, '{"path": "ab')]


def test_json_is_a_call_only_at_the_beginning_and_of_a_tool() -> None:
    assert parse_all('{"name": "look", "arguments": {"n": 1}}', LLAMA) == call(0, '{"n": 1}')
    for text in ('{"name": "Bob", "arguments": {}}', '{"name": "Bo', "{x", 'So: {"name": "look", "arguments": {}}'):
        parser = Parser(LLAMA, TOOLS)
        parser.feed(text)
        assert parse_all(text, LLAMA) == [Content(text)]
        assert not parser.is_malformed


def test_deep_nesting_is_no_error() -> None:
    deep = "[" * 50_000
    parser = Parser(HERMES, TOOLS)
    parser.feed(f'<tool_call>{{"name": "look", "arguments": {{"a": {deep}{deep.replace("[", "]")}}}}}</tool_call>')
    parser.finish()
    assert parser.is_malformed, "no reader could follow it"


@pytest.mark.parametrize("order", ["name first", "arguments first"])
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('{"n": 1}', '{"n": 1}'),
        ('"{\\"n\\": 1}"', '{"n": 1}'),
        ("null", "{}"),
        ('""', "{}"),
    ],
)
def test_arguments_are_an_object_whatever_stands_for_one(order: str, given: str, shown: str) -> None:
    members = ['"name": "look"', f'"arguments": {given}']
    if order == "arguments first":
        members.reverse()
    assert parse_all(f"<tool_call>{{{', '.join(members)}}}</tool_call>") == call(0, shown)


@pytest.mark.parametrize("given", ["3", "[1]", '"3"', "true"])
@pytest.mark.parametrize("order", ["name first", "arguments first"])
def test_what_is_no_object_makes_no_call(order: str, given: str) -> None:
    members = ['"name": "look"', f'"arguments": {given}']
    if order == "arguments first":
        members.reverse()
    text = f"<tool_call>{{{', '.join(members)}}}</tool_call>"
    assert parse_all(text) == [Content(text)]


@pytest.mark.parametrize("name", ["files:look", "look at", "a(b)", "l=k|m", "look"])
def test_a_tool_of_any_name_can_be_called(name: str) -> None:
    """Names of MCP servers hold what a format uses as a mark."""
    tools = {name: TOOLS["look"], "look": TOOLS["look"], "lo": TOOLS["look"]}
    for format, text in (
        (CODER, f"<tool_call><function={name}></function></tool_call>"),
        (TAGGED, f"[CALLS]{name}[ARGS]{{}}[/CALLS]"),
        (KIMI_K2, f"<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>{{}}"),
    ):
        for parts in splits(text):
            parser = Parser(format, tools)
            message = Message.of([*(event for part in parts for event in parser.feed(part)), *parser.finish()])
            assert [(made.name, made.arguments) for made in message.calls] == [(name, "{}")], parts
            assert parser.has_whole_calls


def test_an_argument_of_any_name_is_read() -> None:
    tools = {"look": {"properties": {"page[size]": {"type": "integer"}, "fields(a)": {"type": "string"}}}}
    text = "<tool_call><function=look><parameter=page[size]>\n3\n</parameter><parameter=fields(a)>\nx\n</parameter>"
    for parts in splits(f"{text}</function>"):
        parser = Parser(CODER, tools)
        [made] = Message.of([*(event for part in parts for event in parser.feed(part)), *parser.finish()]).calls
        assert json.loads(made.arguments) == {"page[size]": 3, "fields(a)": "x"}


@pytest.mark.parametrize("thoughts", [ThoughtsIn.CONTENT, ThoughtsIn.BOTH])
def test_a_call_within_a_thought_is_one_where_thoughts_are_content(thoughts: ThoughtsIn) -> None:
    text = "<think>hm\n<tool_call><function=look></function></tool_call>"
    for parts in splits(text):
        message = Message.of(parse(parts, CODER, thoughts=thoughts))
        assert message.content == "<think>hm\n"
        assert [made.arguments for made in message.calls] == ["{}"]


def test_half_a_character_in_a_call_can_be_sent() -> None:
    """Escapes of JSON and Python can stand for what no UTF-8 can hold."""
    texts = (
        (HERMES, r'<tool_call>{"name": "l\ud83d", "id": "\ud83d", "arguments": "{\"path\": \"\ud83d\"}"}</tool_call>'),
        (CODER, "<tool_call><function=look><parameter=deep>\n'\\ud83d'\n</parameter></function></tool_call>"),
    )
    for format, text in texts:
        [made] = Message.of(parse_all(text, format)).calls
        assert made.is_whole
        (made.name + made.id + made.arguments).encode()


def test_line_breaks_between_and_in_strings_of_pythons_notation() -> None:
    text = '<|tool_call_start|>[look(deep={\n  "a": 1,\n  "b": "x\ny"}, path=\'c\nd\')]<|tool_call_end|>'
    [made] = Message.of(parse_all(text, LFM2)).calls
    assert json.loads(made.arguments) == {"deep": {"a": 1, "b": "x\ny"}, "path": "c\nd"}


def test_arguments_nested_beyond_all_bounds_are_no_arguments() -> None:
    with pytest.raises(ValueError, match="nested"):
        gemma_arguments("{a:" * 100_000 + "1" + "}" * 100_000, {})


TEXTS = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", "<tool_call>", "</tool_call>", '{"name": "look"', ', "arguments": ', "{", "}"),
            *(
                "<function=look>",
                "</function>",
                "<parameter=path>",
                "</parameter>",
                "\n",
                " ",
                "a",
                '"',
                "[",
                "é\U0001f600",
            ),
            *("[CALLS]", "look", "[ARGS]", "{}", ";", "[/CALLS]", "<|channel|>", "analysis", "<|message|>", "<|end|>"),
            *("commentary to=functions.look", "<|start|>assistant", "\\", "'", ","),
        ]
    ),
    max_size=25,
)


@given(TEXTS, st.randoms(use_true_random=False), st.booleans())
def test_any_text_at_all(pieces: list[str], draw: Any, is_cut: bool) -> None:
    """Nothing raises, the splitting makes no difference, and what is called whole is valid."""
    text = "".join(pieces)
    for format in (HERMES, CODER, TAGGED, LLAMA, HARMONY, WRAPPED):
        whole = parse([text], format, is_cut=is_cut)
        ends = sorted(draw.sample(range(len(text) + 1), min(4, len(text))))
        parts = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
        assert parse(parts, format, is_cut=is_cut) == whole
        for made in Message.of(whole).calls:
            if made.is_whole:
                assert isinstance(json.loads(made.arguments), dict)


def test_time_is_linear() -> None:
    def seconds(n: int) -> float:
        text = '<tool_call>{"name": "look", "arguments": {"path": "' + "ab\\n<" * n + '"}}</tool_call>'
        parser = Parser(HERMES, TOOLS)
        began = time.thread_time()
        for i in range(0, len(text), 4):
            parser.feed(text[i : i + 4])
        parser.finish()
        assert parser.has_whole_calls
        return time.thread_time() - began

    seconds(1000)
    short, long = (min(seconds(n) for _ in range(3)) for n in (4000, 16000))
    assert long < 8 * short


def test_a_text_of_literals_alone_is_exact() -> None:
    format = ChatFormat("x", islands=(Island(seq("#", Text("all\n", is_exact=True))),))
    assert parse_all("a #all\nb #allx", format) == [Content("ab #allx")]
