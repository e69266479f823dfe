"""All chat templates of llama.cpp's source: what we make of them is what transformers makes of them.

`scripts/write_template_hashes.py` has written what that is. The templates are read where building libllama unpacks
them.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamahttp.api.chat import chat_prompt
from llamahttp.api.parameters import CHAT_TABLE
from llamahttp.chat_template import ChatTemplate
from llamahttp.errors import InvalidRequest, LlamaHTTPError

from . import template_cases as cases

HASHES: dict[str, Any] = json.loads(cases.HASHES.read_text(encoding="utf-8"))
TEMPLATES: dict[str, Any] = HASHES["templates"]

NO_TOOLS = "without tools, transformers gives None, and the template iterates over it"
UNSAFE = "the template changes a list, which transformers' sandbox does not let it do"
LAZY = "the template gives a filter what it can read only once"

MILDER = {
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja": NO_TOOLS,
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja": NO_TOOLS,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja": NO_TOOLS,
    "Kimi-K2-Instruct.jinja": UNSAFE,
    "Kimi-K2-Thinking.jinja": UNSAFE,
    "llama-cpp-deepseek-r1.jinja": LAZY,
    "fireworks-ai-llama-3-firefunction-v2.jinja": "the template adds a variable that nobody defines to text",
    "google-gemma-2-2b-it.jinja": "the template refuses system messages, which are merged into the user's",
}
"""Templates that fail in transformers, at least for some conversations, and why they do not here."""

ESCAPED = {"meetkai-functionary-medium-v3.1.jinja"}
"""Templates for which transformers escapes JSON as if for HTML, since they mark a part of a sum as safe."""


ADAPTED: dict[str, set[str]] = {
    "StepFun3.5-Flash.jinja": {"turns", "system-turns", "system-no-prompt", "continued-turns"},
    "google-gemma-4-31B-it-interleaved.jinja": {
        key for key, case in cases.CASES.items() if any("tool_calls" in message for message in case.messages)
    },
    "google-gemma-4-31B-it.jinja": {"called-with-text"},
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja": {
        key for key, case in cases.CASES.items() if any("reasoning_content" in message for message in case.messages)
    },
}
"""Templates that are given or show something else than in transformers, for which conversations: see the
work-arounds in `template_messages` and the end of Gemma 4's turns."""


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = cases.folder()
    if folder is None:
        pytest.skip("the source of llama.cpp is not unpacked in the cache: make setup")
    return folder


def names() -> Iterator[str]:
    yield from TEMPLATES


@pytest.fixture(scope="module", params=names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def template(folder: Path, name: str) -> ChatTemplate:
    source = cases.read(folder / name)
    if cases.digest(source) != TEMPLATES[name]["source"]:
        pytest.skip("another version of the template: scripts/write_template_hashes.py writes its hashes")
    return ChatTemplate(source, bos=cases.BOS, eos=cases.EOS, clock=lambda: cases.NOW)


def outcome(template: ChatTemplate, case: cases.Case) -> str:
    """What comes of a case, written as the file of hashes has it."""
    try:
        if case.continued:
            text = template.render_continued(case.messages, case.continued, tools=case.tools, kwargs=case.kwargs)
        else:
            text = template.render(
                case.messages,
                tools=case.tools,
                add_generation_prompt=case.add_generation_prompt,
                kwargs=case.kwargs,
            )
    except InvalidRequest as error:
        return "!" + cases.digest(str(error))
    return "?" if text is None else cases.digest(text)


def test_no_template_is_missing(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.jinja")} == set(TEMPLATES)
    assert len(TEMPLATES) == 70


def test_each_template_has_each_case() -> None:
    for row in TEMPLATES.values():
        assert row["cases"].keys() == cases.CASES.keys()


def test_prompts_are_those_of_transformers(template: ChatTemplate, name: str) -> None:
    different = []
    for key, case in cases.CASES.items():
        expected, found = TEMPLATES[name]["cases"][key], outcome(template, case)
        is_moved = key == "system-late" and not template.caps.late_system  # it would be lost, or refused
        if found != expected and not is_moved and not is_known(name, key, expected, found):
            different.append(key)
    assert set(different) == ADAPTED.get(name, set())


def is_known(name: str, key: str, expected: str, found: str) -> bool:
    """Whether there is a reason to differ from transformers."""
    if expected.startswith(("!", "?")):
        # where both refuse, each may have words of its own; null content is left out there, and empty text here
        return name in MILDER or key == "called-null" or (expected == "?" and found.startswith("!"))
    return name in ESCAPED and bool(cases.CASES[key].tools)


@pytest.mark.parametrize("name", sorted(MILDER))
def test_what_fails_in_transformers_is_rendered(folder: Path, name: str) -> None:
    template = ChatTemplate(cases.read(folder / name), bos=cases.BOS, eos=cases.EOS, clock=lambda: cases.NOW)
    expected = TEMPLATES[name]["cases"]
    failing = [key for key in cases.CASES if expected[key].startswith(("!", "?"))]
    assert any(not outcome(template, cases.CASES[key]).startswith(("!", "?")) for key in failing)


@pytest.mark.parametrize("name", sorted(ESCAPED))
def test_json_is_not_escaped_for_html(folder: Path, name: str) -> None:
    template = ChatTemplate(cases.read(folder / name), bos=cases.BOS, eos=cases.EOS, clock=lambda: cases.NOW)
    case = cases.CASES["tools"]
    text = template.render(case.messages, tools=case.tools)
    assert '<now> & \\"there\\"' in text and "&#34;" not in text


def test_capabilities_are_found_quickly(folder: Path) -> None:
    """A start has one template: a tenth of a second for the slowest of them on an idle machine, here with room."""
    slowest = 0.0
    for name in TEMPLATES:
        source = cases.read(folder / name)
        began = time.thread_time()
        ChatTemplate(source)
        slowest = max(slowest, time.thread_time() - began)
    assert slowest < 0.5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("openai-gpt-oss-120b.jinja", "<|channel|>analysis<|message|>Hm<|end|>"),
        ("openai-gpt-oss-120b.jinja", "<|channel|>final<|message|>Hello"),
        ("mistralai-Ministral-3-14B-Reasoning-2512.jinja", ""),
    ],
)
def test_answers_of_a_model_do_not_end_the_conversation(folder: Path, name: str, content: str) -> None:
    """Transformers refuses these, as the templates say; llama-server does not."""
    template = ChatTemplate(cases.read(folder / name), bos=cases.BOS, eos=cases.EOS)
    prompt = template.render([cases.user("Hi"), cases.assistant(content), cases.user("Bye")])
    assert content in prompt and "Bye" in prompt


DEEP: Any = functools.reduce(lambda inner, _: {"a": [inner]}, range(20_000), None)
ODD_ARGUMENTS: tuple[Any, ...] = (
    "",
    "null",
    "[]",
    "5",
    '"x"',
    "{",
    '{"a": ' * 5000,
    '{"a": NaN}',
    '{"\\ud800": "\\udfff"}',
    {},
    {"a": DEEP},
)
ODD_CONTENTS: tuple[Any, ...] = (None, "", [], "\ud800", "\0", "x" * 1_000_000, [{"type": "text", "text": ""}] * 100)
ODD_TOOLS: tuple[Any, ...] = (
    {},
    {"parameters": None},
    {"parameters": {"properties": {"a": True}}},
    {"parameters": DEEP},
    {"strict": 5},
)


def odd_bodies() -> Iterator[dict[str, Any]]:
    """Bodies that no client should send, or that no template was made for."""
    hi = cases.user("Hi")
    for arguments in ODD_ARGUMENTS:
        call = {"id": "1", "type": "function", "function": {"name": "", "arguments": arguments}}
        yield {"messages": [hi, cases.assistant(None, call), cases.result("", number=7), hi]}
    for content in ODD_CONTENTS:
        for role in ("system", "user", "assistant", "tool", "developer", "", "{{ 1 }}"):
            yield {"messages": [{"role": role, "content": content}, hi]}
            yield {"messages": [hi, {"role": role, "content": content, "reasoning_content": content}]}
    for more in ODD_TOOLS:
        yield {"messages": [hi], "tools": [{"type": "function", "function": {"name": "a", **more}}]}
    for name in ("messages", "tools", "bos_token", "add_generation_prompt", "documents", "reasoning_effort", "range"):
        yield {"messages": [hi], "chat_template_kwargs": {name: 5}}
    yield {"messages": [cases.result("warm")]}
    yield {"messages": [hi, *[cases.assistant("", cases.call("a", {}))] * 3, hi]}
    yield {"messages": [hi | {"tool_calls": [cases.call("a", {})]}, hi | {"name": "x", "function_call": 5}]}


def test_what_the_system_says_late_is_never_lost(template: ChatTemplate) -> None:
    """Agents remind the model of something, in the middle or at the end; some templates leave that out or refuse it."""
    before = [cases.system("first"), cases.user("hello"), cases.assistant("hi")]
    user = cases.user("go on")
    for late in (cases.system("REMIND"), {"role": "developer", "content": "REMIND"}):
        for messages in ([*before, late, user], [*before, user, late], [before[0], late, user]):
            assert "REMIND" in template.render(messages)


@pytest.mark.filterwarnings("error")
def test_odd_conversations_are_rendered_or_refused(template: ChatTemplate) -> None:
    """With a message that can be sent, and in time; anything else than a refusal would be a 500."""
    n_refused = 0
    for body in odd_bodies():
        try:
            text = chat_prompt(body, CHAT_TABLE.decode(body), template).text
        except LlamaHTTPError as error:
            assert 400 <= error.status < 500
            text = str(error)
            n_refused += 1
            assert len(text) < 3000
        text.encode()
    assert n_refused < 100  # of 124
