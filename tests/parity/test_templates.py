"""All chat templates of llama.cpp's source: prompts and capabilities as with llama-server, or different with reason."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llamahttp.api.chat import chat_prompt
from llamahttp.api.parameters import CHAT_TABLE
from llamahttp.chat_template import ChatTemplate
from llamahttp.errors import LlamaHTTPError

from .. import template_cases as cases
from . import servers

FOLDER = cases.folder()
NAMES = sorted(path.name for path in FOLDER.glob("*.jinja")) if FOLDER else []

CONTINUED = {"turns-no-prompt", "thought-last", *(key for key, case in cases.CASES.items() if case.continued)}
"""Cases in which the last message is continued."""

PARTS = {"parts", "parts-system"}
CALLS_WITH_LISTS = {"called-awkward", "parallel", "parallel-no-prompt"}
THOUGHTS = {"thought", "thought-preserved", "thought-call-answered", "thinking-turns", "no-thinking-turns"}
NO_PROMPT = {"no-prompt", "system-no-prompt", "parallel-no-prompt"}

DIFFERENT: dict[str, tuple[set[str], str]] = {
    "LFM2.5-8B-A1B.jinja": (PARTS, "the template joins parts itself, llama-server does before, with new lines"),
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja": (PARTS, "the same"),
    "openbmb-MiniCPM5-1B.jinja": (CALLS_WITH_LISTS, "lists and objects are joined there, and printed by Jinja"),
    "google-gemma-4-31B-it.jinja": ({"called-awkward"}, "null is nothing there, and None in Jinja"),
    "google-gemma-4-31B-it-interleaved.jinja": ({"called-awkward", "called-with-text"}, "the same; text before calls"),
    "unsloth-mistral-Devstral-Small-2507.jinja": (THOUGHTS, "answers with thoughts lose their content there"),
    "llama-cpp-rwkv-world.jinja": (NO_PROMPT, "there, no generation prompt is an undefined one"),
    "upstage-Solar-Open-100B.jinja": (NO_PROMPT, "the same"),
}
"""Which prompts differ, and why."""

WITHOUT_THOUGHTS = (
    "its thought is no part of the prompt, and to continue it is refused; there it is left out or in tags"
)
"""Templates that show no thoughts."""

FRAMED_OTHERWISE = {
    "Apriel-1.6-15b-Thinker-fixed.jinja": "the words that begin a thought are kept before its end",
    "ByteDance-Seed-OSS.jinja": "no empty thought, as in transformers",
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja": "the template's own beginning of an answer",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja": "the template's own frame",
    "GLM-4.7-Flash.jinja": "the template's own end of a thought",
    "MiniMax-M3.jinja": "the template's own frame",
    "Spark2.5.jinja": "the template's own end of a thought",
    "deepseek-ai-DeepSeek-V4-Flash-0731.jinja": "the template's own end of a thought",
    "deepseek-ai-DeepSeek-V4.jinja": "the template's own end of a thought",
    "google-gemma-4-31B-it-interleaved.jinja": "no empty thought, as in transformers",
    "google-gemma-4-31B-it.jinja": "no empty thought, as in transformers",
    "llama-cpp-rwkv-world.jinja": "the thought is begun twice there",
    "microsoft-Phi-3.5-mini-instruct.jinja": "there the end of the text is put over the beginning of an answer",
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja": "no empty thought, as in transformers",
    "mistralai-Mistral-Nemo-Instruct-2407.jinja": "the system message stands with the last user's, as in transformers",
    "muse-glimmer.jinja": "no empty thought, as in transformers",
    "openai-gpt-oss-120b.jinja": "no empty thought, as in transformers",
    "poolside-Laguna-XS-2.1.jinja": "the template's own end of a thought",
    "poolside-Laguna-XS.2.jinja": "the template's own end of a thought",
    "unsloth-mistral-Devstral-Small-2507.jinja": WITHOUT_THOUGHTS,
    "upstage-Solar-Open-100B.jinja": "the marker of the content is missing there",
}
"""Templates for which continued messages differ by more than white space and empty thoughts, and why."""

CAPS_DIFFERENT = {
    "LFM2.5-8B-A1B.jinja": {"supports_typed_content"},
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja": {"supports_typed_content"},
}
"""Both templates take parts as well as text."""


@dataclass(frozen=True)
class Reference:
    """llama-server with one template."""

    name: str
    url: str
    template: ChatTemplate
    """Ours, with the same source and tokens."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


@pytest.fixture(scope="module", params=NAMES)
def reference(
    request: pytest.FixtureRequest, llama_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    assert FOLDER is not None
    path = FOLDER / request.param
    template = ChatTemplate(cases.read(path), bos=cases.BOS, eos=cases.EOS, strip_bos=True)
    log = tmp_path_factory.mktemp("reference") / "log"
    with servers.reference(llama_gguf, log, ["--chat-template-file", str(path)]) as url:
        yield Reference(path.name, url, template)


def body(case: cases.Case) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "messages": case.messages,
        "add_generation_prompt": case.add_generation_prompt,
        "chat_template_kwargs": case.kwargs,
    }
    if case.tools:
        asked["tools"] = case.tools
    if case.continued:
        asked["continue_final_message"] = case.continued
    return asked


def prompts(reference: Reference, case: cases.Case) -> tuple[str | None, str | None]:
    """Ours and llama-server's; None where it is refused."""
    asked = body(case)
    ours: str | None = None
    theirs: str | None = None
    try:
        ours = chat_prompt(asked, CHAT_TABLE.decode(asked), reference.template).text
    except LlamaHTTPError as error:
        assert error.status == 400
    try:
        theirs = reference.ask("/apply-template", asked)["prompt"]
    except urllib.error.HTTPError as error:
        error.close()
    return ours, theirs


def same(ours: str | None, theirs: str | None) -> bool:
    return ours == theirs


def same_but_for_frame(ours: str | None, theirs: str | None) -> bool:
    """Alike but for white space and empty thoughts; what only one of them can continue is not compared."""

    def bare(text: str) -> str:
        return re.sub(r"\s|<think>\s*</think>|<\|START_THINKING\|>\s*<\|END_THINKING\|>", "", text)

    return ours is None or theirs is None or bare(ours) == bare(theirs)


def different(reference: Reference, keys: set[str], alike: Callable[[str | None, str | None], bool]) -> set[str]:
    return {key for key in keys if not alike(*prompts(reference, cases.CASES[key]))}


def test_prompts(reference: Reference) -> None:
    """What the system says late is told where llama-server loses it, or refuses the conversation."""
    expected, _ = DIFFERENT.get(reference.name, (set[str](), ""))
    moved = set() if reference.template.caps.late_system else {"system-late"}
    assert different(reference, cases.CASES.keys() - CONTINUED - moved, same) == expected


def test_continued_messages(reference: Reference) -> None:
    found = different(reference, CONTINUED, same_but_for_frame)
    if reference.name in FRAMED_OTHERWISE:
        assert found
    elif reference.template.thinks:
        assert not found
    else:
        assert found <= {"thought-last", "continued-thought"}, WITHOUT_THOUGHTS


def test_capabilities(reference: Reference) -> None:
    theirs, ours = reference.ask("/props")["chat_template_caps"], reference.template.caps.to_props()
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == CAPS_DIFFERENT.get(reference.name, set())
