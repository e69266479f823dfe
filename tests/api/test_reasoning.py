from __future__ import annotations

import pytest

from llamahttp.api.reasoning import ReasoningSplitter, open_thought


def split(parts: list[str], *, is_open: bool = False) -> tuple[list[str], list[str]]:
    """Reasoning and content as they go out, part by part and last the rest."""
    splitter = ReasoningSplitter(is_open=is_open)
    pairs = [*(splitter.feed(part) for part in parts), splitter.finish()]
    return [reasoning for reasoning, _ in pairs if reasoning], [content for _, content in pairs if content]


CASES = [
    ("hello", False, "", "hello"),
    ("<think>\nwell\n</think>\n\nhello", False, "well", "hello"),
    ("\n <think>well</think>hello <think>", False, "well", "hello <think>"),
    ("well\n</think>\n\nhello </think>", True, "well", "hello </think>"),
    ("<thin air", False, "", "<thin air"),
    ("<thi", False, "", "<thi"),
    ("  \n", False, "", "  \n"),
    ("<think></think>hello", False, "", "hello"),
    ("\n\n</think>\n\n", True, "", ""),
    ("a < b </thin\n c", True, "a < b </thin\n c", ""),
    ("never ended  ", True, "never ended", ""),
    (" two  words \n</think> so", True, "two  words", "so"),
    ("", True, "", ""),
]


@pytest.mark.parametrize(("text", "is_open", "reasoning", "content"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_the_parts_do_not_matter(text: str, is_open: bool, reasoning: str, content: str, size: int) -> None:
    parts = [text[i : i + size] for i in range(0, len(text), size)]
    given = split(parts, is_open=is_open)
    assert ("".join(given[0]), "".join(given[1])) == (reasoning, content)


def test_thoughts_go_out_as_they_come() -> None:
    assert split(["\n", "one", " two", "\n", "three<", "x"], is_open=True) == (["one", " two", "\nthree", "<x"], [])


def test_a_splitter_is_done_when_only_content_can_come() -> None:
    splitter = ReasoningSplitter(is_open=True)
    states = []
    for part in ("a", "</think>", "\n", "b"):
        splitter.feed(part)
        states.append(splitter.is_done)
    assert states == [False, False, False, True]


@pytest.mark.parametrize(
    ("prompt", "thought"), [("x<think>\n", "<think>\n"), ("x<think>", "<think>"), ("x", ""), ("<think>y", "")]
)
def test_prompts_that_begin_a_thought(prompt: str, thought: str) -> None:
    assert open_thought(prompt) == thought
