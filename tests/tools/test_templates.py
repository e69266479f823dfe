# ruff: noqa: RUF001  (the bars in DeepSeek's tags are wide ones)
"""Every chat template of llama.cpp's source: its format is found, and what it shows of calls is read and allowed."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema
import numpy as np
import pytest

from llamahttp.api.calls import find_triggers
from llamahttp.chat_template import ChatTemplate
from llamahttp.constraint import LazyGrammar
from llamahttp.grammar import GrammarCompiler, GrammarState
from llamahttp.tools.detect import common_prefix, detect, is_tag, segments
from llamahttp.tools.events import Event, Message, append
from llamahttp.tools.format import ChatFormat
from llamahttp.tools.lark import Beginning, to_lark
from llamahttp.tools.parser import Parser
from llamahttp.tools.pattern import CallObject, Fields, NamedObject, Notated, walk
from llamahttp.trigger import Triggers
from tests.fakes import FakeVocab
from tests.template_cases import folder

DIRECTORY = folder()
PATHS = sorted(DIRECTORY.glob("*.jinja")) if DIRECTORY else []
pytestmark = pytest.mark.skipif(not PATHS, reason="llama.cpp's source was never unpacked: ./build_lib.sh does it")

FORMATS = {
    # template: tag of thoughts, how calls begin, how arguments are written
    "Apertus-8B-Instruct": ("", "<|tools_prefix|>[", "named object"),
    "Apriel-1.6-15b-Thinker-fixed": ("Here are my reasoning steps:", "<tool_calls>[", "object"),
    "Bielik-11B-v3.0-Instruct": ("<think>", "<tool_call>", "object"),
    "ByteDance-Seed-OSS": ("<seed:think>", "<seed:tool_call>", "fields"),
    "Cohere2MoE": ("<|START_THINKING|>", "<|START_ACTION|>[", "object"),
    "CohereForAI-c4ai-command-r-plus-tool_use": ("", "Action:", "object"),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": ("<|START_THINKING|>", "<|START_ACTION|>[", "object"),
    "GLM-4.6": ("<think>", "<tool_call>", "fields"),
    "GLM-4.7-Flash": ("<think>", "<tool_call>", "fields"),
    "GigaChat3-10B-A1.8B": ("", "<|message_sep|>", "object"),
    "GigaChat3.1-10B-A1.8B": ("", "<|function_call|>", "object"),
    "HuggingFaceTB-SmolLM3-3B": ("<think>", "", ""),
    "Kimi-K2-Instruct": ("", "<|tool_calls_section_begin|>", "arguments"),
    "Kimi-K2-Thinking": ("<think>", "<|tool_calls_section_begin|>", "arguments"),
    "Kimi-K3": ("<|open|>think<|sep|>", "<|open|>tools<|sep|>", "fields"),
    "LFM2-8B-A1B": ("", "<|tool_call_start|>[", "notation"),
    "LFM2.5-8B-A1B": ("<think>", "<|tool_call_start|>[", "notation"),
    "LFM2.5-Instruct": ("<think>", "<|tool_call_start|>[", "notation"),
    "MiMo-VL": ("", "<tool_call>", "object"),
    "MiniMax-M1": ("", "<tool_calls>", "object"),
    "MiniMax-M2": ("<think>", "<minimax:tool_call>", "fields"),
    "MiniMax-M3": ("<mm:think>", "]<]minimax[>[<tool_call>", "fields"),
    "Mistral-Small-3.2-24B-Instruct-2506": ("", "[TOOL_CALLS]", "arguments"),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": ("<think>", "<tool_call>", "fields"),
    "NVIDIA-Nemotron-Nano-v2": ("<think>", "<TOOLCALL>[", "object"),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": ("", "<tool_call>", "object"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": ("", "<tool_call>", "object"),
    "Qwen-QwQ-32B": ("<think>", "<tool_call>", "object"),
    "Qwen-Qwen2.5-7B-Instruct": ("", "<tool_call>", "object"),
    "Qwen-Qwen3-0.6B": ("<think>", "<tool_call>", "object"),
    "Qwen3-Coder": ("", "<tool_call>", "fields"),
    "Qwen3.5-4B": ("<think>", "<tool_call>", "fields"),
    "Reka-Edge": ("<think>", "<tool_call>", "object"),
    "Spark2.5": ("<think>", "<tool_call>", "fields"),
    "StepFun3.5-Flash": ("<think>", "<tool_call>", "fields"),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ("<think>", "", ""),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ("<think>", "<｜tool▁calls▁begin｜>", "arguments"),
    "deepseek-ai-DeepSeek-V3.1": ("<think>", "<｜tool▁calls▁begin｜>", "arguments"),
    "deepseek-ai-DeepSeek-V3.2": ("<think>", "<｜DSML｜function_calls>", "fields"),
    "deepseek-ai-DeepSeek-V4-Flash-0731": ("<think>", "<｜DSML｜tool_calls>", "fields"),
    "deepseek-ai-DeepSeek-V4": ("<think>", "<｜DSML｜tool_calls>", "fields"),
    "fireworks-ai-llama-3-firefunction-v2": ("", "functools[", "object"),
    "google-gemma-2-2b-it": ("", "", ""),
    "google-gemma-4-31B-it-interleaved": ("<|channel>thought", "<|tool_call>call:", "notation"),
    "google-gemma-4-31B-it": ("<|channel>thought", "<|tool_call>call:", "notation"),
    "ibm-granite-granite-3.3-2B-Instruct": ("<think>", "<|tool_call|>[", "object"),
    "ibm-granite-granite-4.0": ("", "<tool_call>", "object"),
    "ibm-granite-granite-4.1": ("", "<tool_call>", "object"),
    "inclusionai-ling-3.0-flash": ("<think>", "<tool_call>", "fields"),
    "llama-cpp-deepseek-r1": ("<think>", "<｜tool▁calls▁begin｜>", "arguments"),
    "llama-cpp-rwkv-world": ("<think>", "", ""),
    "meetkai-functionary-medium-v3.1": ("", "<function=", "arguments"),
    "meetkai-functionary-medium-v3.2": ("", ">>>", "arguments"),
    "meta-llama-Llama-3.1-8B-Instruct": ("", "<|python_tag|>", "object"),
    "meta-llama-Llama-3.2-3B-Instruct": ("", "{", "object"),
    "meta-llama-Llama-3.3-70B-Instruct": ("", "<|python_tag|>", "object"),
    "microsoft-Phi-3.5-mini-instruct": ("", "", ""),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("[THINK]", "[TOOL_CALLS]", "arguments"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("", "[TOOL_CALLS][", "object"),
    "moonshotai-Kimi-K2": ("", "<|tool_calls_section_begin|>", "arguments"),
    "muse-glimmer": ("to=self<|message|>", "<|start|>assistant", "fields"),
    "openai-gpt-oss-120b": ("<|channel|>analysis<|message|>", "<|channel|> <|start|>assistant", "arguments"),
    "openbmb-MiniCPM5-1B": ("<think>", "<function", "fields"),
    "poolside-Laguna-S-2.1": ("<think>", "<tool_call>", "fields"),
    "poolside-Laguna-XS-2.1": ("<think>", "<tool_call>", "fields"),
    "poolside-Laguna-XS.2": ("<think>", "<tool_call>", "fields"),
    "tencent-Hy3": ("<think:opensource>", "<tool_calls:opensource>", "fields"),
    "unsloth-Apriel-1.5": ("", "<tool_calls>[", "object"),
    "unsloth-mistral-Devstral-Small-2507": ("", "[TOOL_CALLS]", "arguments"),
    "upstage-Solar-Open-100B": ("<|think|>", "<|tool_calls|>", "arguments"),
}
NO_CALLS = {
    "HuggingFaceTB-SmolLM3-3B": "shows tools only if given as xml_tools or python_tools",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "shows no tools",
    "google-gemma-2-2b-it": "shows no tools",
    "llama-cpp-rwkv-world": "shows no tools",
    "microsoft-Phi-3.5-mini-instruct": "shows no tools",
}

NAMES = ("alpha_fun", "beta_fun")
AWKWARD = {
    "count": -3,
    "opts": {"x": [1, {"y": "ü"}], "z": "q"},
    "path": 'a "q" \\ b/é',
    "text": "l1\n\n  {l2} <b> ,'x' 漢",
    "void": "",
}
SCHEMAS: dict[str, Any] = {
    NAMES[0]: {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "opts": {"type": "object"},
            "path": {"type": "string"},
            "text": {"type": "string"},
            "void": {"type": "string"},
        },
        "required": ["path"],
    },
    NAMES[1]: {"type": "object", "properties": {}},
}
FINITE: dict[str, Any] = {
    NAMES[0]: {
        "type": "object",
        "properties": {
            "word": {"type": "string", "enum": ["a", 'b "c"', "d\ne", "é"]},
            "number": {"type": "integer", "minimum": -2, "maximum": 12},
            "flag": {"type": "boolean"},
            "either": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 3}, {"enum": ["p", "q"]}]},
            "deep": {
                "type": "object",
                "properties": {
                    "list": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 2},
                    "maybe": {"type": ["boolean", "null"]},
                },
                "required": ["list"],
                "additionalProperties": False,
            },
        },
        "required": ["word", "either"],
        "additionalProperties": False,
    },
    NAMES[1]: {"type": "object", "properties": {}, "additionalProperties": False},
}
"""Whatever is written at random by these comes to an end."""

PLAIN = {"count": 3, "path": "a b", "text": "c"}
ARGUMENTS = {
    # what these templates show of anything else is not what their models write
    "CohereForAI-c4ai-command-r-plus-tool_use": (
        {key: value for key, value in AWKWARD.items() if key != "opts"},
        "shows no tool with objects of any kind",
    ),
    "ByteDance-Seed-OSS": ({**AWKWARD, "opts": {}}, "shows objects as Python does"),
    "openbmb-MiniCPM5-1B": ({**AWKWARD, "opts": {}}, "shows objects as Python does"),
    "LFM2.5-8B-A1B": (PLAIN, "escapes nothing"),
    "Reka-Edge": ({**AWKWARD, "path": "a", "text": "b\nc", "opts": {}}, "escapes all that is not ASCII"),
}
WRITTEN = {
    # templates that show tools but no calls: as the models write them
    "LFM2-8B-A1B": "<|tool_call_start|>[alpha_fun(count=3, path='a b', text='c'), beta_fun()]<|tool_call_end|>",
    "LFM2.5-Instruct": '<|tool_call_start|>[alpha_fun(count=3, path="a b", text="c"), beta_fun()]<|tool_call_end|>',
    "ibm-granite-granite-3.3-2B-Instruct": '<|tool_call|>[{"name": "alpha_fun", "arguments": {"count": 3, '
    '"path": "a b", "text": "c"}}, {"name": "beta_fun", "arguments": {}}]',
}
ENDS = ("<s>", "</s>", "<|eom_id|>", "<|im_end|>", "<|tool_response>", "<|call|>", "[e~[", "<|eot|>", "<|message_sep|>")
"""Tokens that end an answer, whatever messages without calls end with."""

by_template = pytest.mark.parametrize("name", [path.stem for path in PATHS])
with_calls = pytest.mark.parametrize("name", [path.stem for path in PATHS if path.stem not in NO_CALLS])


@functools.lru_cache(None)
def template(name: str) -> ChatTemplate:
    assert DIRECTORY
    return ChatTemplate((DIRECTORY / f"{name}.jinja").read_text(encoding="utf-8"), bos="<s>", eos="</s>")


@functools.lru_cache(None)
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeVocab())


def summary(format: ChatFormat) -> tuple[str, str, str]:
    nodes = [node for island in format.calls for node in walk(island.node)]
    kinds = {
        "object": CallObject,
        "named object": NamedObject,
        "fields": Fields,
        "notation": Notated,
    }
    kind = next((kind for kind, node in kinds.items() if any(isinstance(each, node) for each in nodes)), "arguments")
    begins = [island.firsts[0] for island in format.calls]
    return format.thought.start.strip() if format.thought else "", " ".join(begins), kind if nodes else ""


class Sample:
    """An assistant's message with calls, as the template shows it."""

    def __init__(self, name: str) -> None:
        self.template = template(name)
        self.format = detect(self.template)
        arguments = PLAIN if name in WRITTEN else ARGUMENTS.get(name, (AWKWARD, ""))[0]
        self.calls = [(NAMES[0], arguments), (NAMES[1], {})][: self.format.max_calls or 2]
        self.is_open, self.primer = False, ""
        self.text = WRITTEN.get(name) or self._shown()

    def _shown(self) -> str:
        calls = [
            {
                "id": f"call0000{i}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
            }
            for i, (name, arguments) in enumerate(self.calls)
        ]
        whole = self._render({"role": "assistant", "content": "", "tool_calls": calls})
        prompt = self._render()
        before = prompt if whole.startswith(prompt) else common_prefix(prompt, whole)
        thought = self.format.thought
        self.primer = self.format.primer if self.format.primer and before.endswith(self.format.primer) else ""
        text = self._without_end(whole[len(before) :])
        # a prompt may end with more than the answer's beginning: then that is in the text once more
        text = text.removeprefix(next((part for part in segments(prompt)[::-1] if is_tag(part)), ""))
        self.is_open = thought is not None and (
            text.lstrip().startswith(thought.end.strip())
            or (bool(thought.opening(before)) and thought.end.strip() in text)
        )
        return text

    def _render(self, *messages: dict[str, Any]) -> str:
        tools = [
            {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": schema}}
            for name, schema in self._schemas()
        ]
        question = {"role": "user", "content": "Please."}
        return self.template.render([question, *messages], tools=tools, add_generation_prompt=not messages)

    def _schemas(self) -> Iterator[tuple[str, Any]]:
        """With the arguments that are used."""
        for name, schema in SCHEMAS.items():
            shown = {key: value for key, value in schema["properties"].items() if key in self.calls[0][1]}
            yield name, schema | {"properties": shown}

    def _without_end(self, text: str) -> str:
        plain = self._render({"role": "assistant", "content": "CONTENT"})
        tail = plain[plain.rindex("CONTENT") + len("CONTENT") :]
        last = text.rindex(self.calls[-1][0])
        for end in (*filter(is_tag, segments(tail)), *ENDS):
            at = text.find(end, last)
            if at > last and (end in ENDS or not any(end in literal for literal in self.format.literals)):
                text = text[:at]
        return text

    def _ends(self) -> frozenset[str]:
        """Tokens that end an answer of this template's models."""
        return frozenset(ENDS) - ({"<|message_sep|>"} if "<|message_sep|>" in self.template.source else set())

    def parser(self, tools: dict[str, Any] = SCHEMAS) -> Parser:
        return Parser(self.format, tools, is_open=self.is_open, primer=self.primer, make_id=lambda n: "i" * n)

    def lark(self, *, is_lazy: bool, tools: dict[str, Any] = SCHEMAS, parallel: bool = True) -> GrammarState:
        beginning = Beginning(is_lazy, self.format.thought is not None, self.is_open)
        text = to_lark(self.format, tools, beginning, parallel=parallel, ends=self._ends())
        return compiler().compile_lark(text).start()


def read(parser: Parser, parts: Sequence[str]) -> list[Event]:
    events: list[Event] = []
    for part in [*map(parser.feed, parts), parser.finish()]:
        for event in part:
            append(events, event)
    return events


def called(message: Message) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in message.calls]


def splits(text: str) -> Iterator[list[str]]:
    """The text as a whole, in two parts wherever it can be split, and in single characters."""
    yield [text]
    yield from ([text[:i], text[i:]] for i in range(1, len(text)))
    yield list(text)


@by_template
def test_the_format_is_found(name: str) -> None:
    found = summary(detect(template(name)))
    assert found == FORMATS[name]
    assert (found[1] == "") == (name in NO_CALLS)


@with_calls
def test_calls_are_read_wherever_the_text_is_split(name: str) -> None:
    sample = Sample(name)
    whole = read(sample.parser(), [sample.text])
    message = Message.of(whole)
    assert called(message) == sample.calls
    assert (message.content.strip(), message.reasoning.strip()) == ("", "")
    for parts in splits(sample.text):
        parser = sample.parser()
        assert read(parser, parts) == whole
        assert parser.has_whole_calls


@with_calls
def test_content_before_calls(name: str) -> None:
    sample = Sample(name)
    if any(island.is_weak for island in sample.format.calls) or name == "meetkai-functionary-medium-v3.2":
        pytest.skip("calls begin the answer")
    thought = sample.format.thought
    text = sample.text.partition(thought.end.strip())[2] if sample.is_open and thought else sample.text
    for tag in (thought.start.strip(), thought.end.strip()) if thought else ():
        text = text.replace(tag, "")
    parser = Parser(sample.format, SCHEMAS)
    message = Message.of(read(parser, list(f"So <be> it: [x\n\n{sample.primer}{text}")))
    assert (message.content, called(message)) == ("So <be> it: [x", sample.calls)


@with_calls
@pytest.mark.parametrize("is_lazy", [False, True])
def test_the_grammar_allows_what_the_template_shows(name: str, is_lazy: bool) -> None:
    sample = Sample(name)
    state = sample.lark(is_lazy=is_lazy)
    if is_lazy:
        triggers = Triggers(find_triggers(sample.format, NAMES))
        lazy = LazyGrammar(state, triggers, FakeVocab.special_pieces)
        for token in sample.text.encode():
            assert lazy.allows(token), "after what came before"
            lazy.accept(token)
        assert lazy.holds, "the call was not noticed"
    else:
        assert state.take(sample.text.encode(), ())
    assert state.is_complete


@with_calls
def test_one_call_at_most_where_no_more_are_wanted(name: str) -> None:
    sample = Sample(name)
    if len(sample.calls) < 2:
        pytest.skip("has one at most anyway")
    assert not sample.lark(is_lazy=False, parallel=False).take(sample.text.encode(), ())


@with_calls
def test_a_function_that_is_named_is_called(name: str) -> None:
    sample = Sample(name)
    assert not sample.lark(is_lazy=False, tools={NAMES[1]: SCHEMAS[NAMES[1]]}).take(sample.text.encode(), ())


@with_calls
def test_whatever_the_grammar_allows_is_read(name: str) -> None:
    sample = Sample(name)
    draw = random.Random(name)
    sample.is_open = False
    for _ in range(5):
        text = written(sample.lark(is_lazy=True, tools=FINITE), draw)
        prompt = sample.format.primer
        parser = Parser(sample.format, FINITE, primer=prompt)
        message = Message.of(read(parser, list(text)))
        assert parser.has_whole_calls, text
        for call in message.calls:
            jsonschema.validate(json.loads(call.arguments), FINITE[call.name])


def written(state: GrammarState, draw: random.Random, most: int = 10_000) -> str:
    """A text of the language at random, that ends as soon as it may after some time."""
    data = bytearray()
    for i in range(most):
        if state.is_complete and draw.random() < i / 600:
            break
        allowed = [int(token) for token in np.flatnonzero(state.mask()) if token < 256]
        if not allowed:
            break
        # white space is as free as can be, and tells nothing
        solid = [token for token in allowed if token not in b" \t\r\n"]
        token = draw.choice(solid if solid and draw.random() < 0.9 else allowed)
        state.accept(token)
        data.append(token)
    assert state.is_complete, bytes(data)
    return data.decode()
