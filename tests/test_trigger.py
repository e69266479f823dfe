"""Triggers: found when they are complete, at any length of text, with what the grammar is to begin with."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.errors import InvalidRequest
from llamahttp.trigger import WINDOW, Found, Trigger, TriggerKind, Triggers, TriggerScanner

WORD, PATTERN, PATTERN_FULL = TriggerKind.WORD, TriggerKind.PATTERN, TriggerKind.PATTERN_FULL


def scan(triggers: list[Trigger], pieces: list[bytes]) -> tuple[int, Found] | None:
    """Feed pieces, token i being pieces[i]; the token that completed a trigger, and what was found."""
    scanner = TriggerScanner(Triggers(triggers))
    for token, piece in enumerate(pieces):
        found = scanner.feed(token, piece)
        if found is not None:
            return token, found
    return None


def slowly(words: list[bytes], pieces: list[bytes]) -> tuple[int, bytes] | None:
    """The token after which a word is in the text, and the text from the first listed word on."""
    text = b""
    for token, piece in enumerate(pieces):
        text += piece
        for word in words:
            if word in text:
                return token, text[text.index(word) :]
    return None


@given(
    st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.text("ab<", max_size=3), max_size=30),
)
def test_words_as_by_searching_the_whole_text(words: list[str], texts: list[str]) -> None:
    pieces = [text.encode() for text in texts]
    expected = slowly([word.encode() for word in words], pieces)
    for kind in (WORD, PATTERN):
        result = scan([Trigger(kind, word) for word in words], pieces)
        if expected is None:
            assert result is None
        else:
            assert result is not None
            token, found = result
            assert (token, found.head + b"".join(pieces[i] for i in found.tokens)) == expected


def test_a_word_in_the_middle_of_a_token_is_taken_from_there() -> None:
    pieces = [b"some", b" text <to", b"ol>", b"x"]
    assert scan([Trigger(WORD, "<tool>")], pieces) == (2, Found(b"<to", (2,)))


def test_a_token_is_taken_whole() -> None:
    assert scan([Trigger(TriggerKind.TOKEN, "", 2)], [b"a", b"b", b"<x>"]) == (2, Found(b"", (2,)))


def test_a_pattern_begins_with_its_first_group_that_is_not_empty() -> None:
    triggers = [Trigger(PATTERN, r"call:()(?:x)?\s*(\{)")]
    assert scan(triggers, [b"a call:", b"  ", b"{ "]) == (2, Found(b"", (2,)))


def test_a_full_pattern_is_of_the_whole_text() -> None:
    triggers = [Trigger(PATTERN_FULL, r"(?:ab)*(<f)")]
    assert scan(triggers, [b"ab", b"ab", b"<", b"f"]) == (3, Found(b"", (2, 3)))
    assert scan(triggers, [b"x", b"ab", b"<", b"f"]) is None


def test_what_is_found_once_is_not_found_again() -> None:
    for kind in (WORD, PATTERN):
        scanner = TriggerScanner(Triggers([Trigger(kind, "ab")]))
        results = [scanner.feed(i, piece) for i, piece in enumerate([b"ab", b"c", b"a", b"b"])]
        assert [result is not None for result in results] == [True, False, False, True]


def test_what_goes_on_for_long_costs_no_more_in_the_end() -> None:
    """llama-server searches the whole text for every token; here the time of a token is bounded."""
    scanner = TriggerScanner(Triggers([Trigger(WORD, "<never>"), Trigger(PATTERN, r"<nev(er)>")]))
    costs = []
    for part in range(8):
        began = time.thread_time()
        for token in range(4000):
            assert scanner.feed(token, b" <never") is None
        costs.append(time.perf_counter() - began)
        assert part < 2 or costs[-1] < 5 * costs[1], "it grows with the text"


def test_a_pattern_reaches_back_no_further_than_the_window() -> None:
    far, near = b"x" * WINDOW, b"x" * (WINDOW - 10)
    assert scan([Trigger(PATTERN, "ax*b")], [b"a", near, b"b"]) is not None
    assert scan([Trigger(PATTERN, "ax*b")], [b"a", far, b"b"]) is None
    assert scan([Trigger(PATTERN, "^x*b")], [b"a", far, b"b"]) is None, "cut text has no beginning"


def test_a_hostile_pattern_takes_no_time() -> None:
    source = "(a+)+(a+)+(a+)+(a+)+c"
    with pytest.raises(re.error):
        re.compile(source + "(")
    began = time.thread_time()
    assert scan([Trigger(PATTERN, source)], [b"a" * 5000] * 3) is None
    assert time.thread_time() - began < 1


@pytest.mark.parametrize("source", ["(", "a(?=b)", "x" * 10_000, ""])
def test_a_pattern_that_cannot_be_used_is_the_requests_fault(source: str) -> None:
    with pytest.raises(InvalidRequest, match="grammar_triggers"):
        Triggers([Trigger(PATTERN, source)])
