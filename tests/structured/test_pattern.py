"""Patterns mean to llguidance what they mean to those who wrote them."""

from __future__ import annotations

import pytest

from llamahttp.grammar import GrammarCompiler
from llamahttp.structured.answer import HEAD, RegexAnswer
from llamahttp.structured.pattern import MAX_PATTERN, PatternError, to_rust
from tests.fakes import FakeVocab


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeVocab())


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("^[[a]$", ["[", "a"], ["b"]),
        ("[a&&b]", ["&", "a", "b"], ["c"]),
        ("[a~~b]", ["~", "a"], ["c"]),
        ("[+--]", ["+", ",", "-"], ["."]),
        ("[\\w-]+", ["a-_9"], [".", "ä"]),
        ("[\\]\\[]", ["]", "["], ["\\"]),
        ("[^]", ["a", "\n"], [""]),
        ("[^\\d]", ["a"], ["1", "٣"]),
        ("[^\\D]", ["1"], ["a", "٣"]),
        ("[\\b]", ["\b"], ["b"]),
        ("\\d\\w\\s", ["1a "], ["٣a ", "1ä "]),
        ("\\D\\W\\S", ["a.x"], ["1.x", "a扫x", "a.\ufeff"]),
        (".", ["a", "扫"], ["\n", "\r", "\u2028"]),
        ("a{", ["a{"], ["a"]),
        ("a{2,3}", ["aa", "aaa"], ["a", "aaaa"]),
        ("a{0}b{1,}", ["bb"], ["ab"]),
        ("a{0000002}", ["aa"], ["a"]),
        ("]}", ["]}"], []),
        ("(?:a|b)?", ["", "b"], ["ab"]),
        ("(?<name>a)(?P<other>b)", ["ab"], ["a"]),
        ("^(yes|no)$", ["yes", "no"], ["yesno"]),
        ("a\\$", ["a$"], ["a"]),
        ("a\\\\$", ["a\\"], ["a"]),
        ("a/b\\/", ["a/b/"], ["ab"]),
        ("\\u00e4\\u{1F600}\\x41", ["ä😀A"], []),
        ("\\cA\\0\\t", ["\x01\0\t"], []),
        ("\\p{L}+", ["aä扫"], ["1"]),
        ("\\-\\_\\é\\ \\#", ["-_é #"], []),
        ("a\nb", ["a\nb"], ["anb"]),
        ('"[^"]*"', ['"a\\"'], ['"a']),
    ],
)
def test_what_patterns_match(compiler: GrammarCompiler, pattern: str, matches: list[str], others: list[str]) -> None:
    grammar = compiler.compile_lark(f"{HEAD}\nstart: {RegexAnswer(pattern).rule()}")

    def is_match(text: str) -> bool:
        state = grammar.start()
        return (not text or state.take(text.encode(), ())) and state.is_complete

    assert [text for text in (*matches, *others) if is_match(text)] == [text for text in matches if text[:1] != "\0"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?=a)", "a lookahead cannot be enforced"),
        ("(?!a)", "a lookahead"),
        ("(?<=a)b", "a lookbehind"),
        ("(?<!a)b", "a lookbehind"),
        ("(?i)a", "'\\(\\?' begins a group of an unknown kind"),
        ("(a)\\1", "the backreference"),
        ("\\k<a>", "the backreference"),
        ("\\bfoo", "the word boundary"),
        ("\\B", "the word boundary"),
        ("\\A", "is not known"),
        ("\\ud83d", "half a character"),
        ("[]", "matches nothing"),
        ("[a", "it ends too early"),
        ("\\", "it ends too early"),
        ("a{1000000}", "'\\{1000000\\}' is beyond the limit of 999999 times"),
        ("a{2,1000000}", "'\\{2,1000000\\}' is beyond"),
        ("a" * (MAX_PATTERN + 1), f"more than the limit of {MAX_PATTERN}"),
    ],
)
def test_what_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        to_rust(pattern)
