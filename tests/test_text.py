"""Text assembly against an oracle that decodes everything at once."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamahttp.text import TextAssembler, find_first, open_tail


def assemble(pieces: Sequence[bytes], stop: Sequence[str] = ()) -> tuple[list[str], TextAssembler]:
    """What comes out for each piece, fed one by one, and last of all what `finish` gives."""
    assembler = TextAssembler(pieces, stop)
    out = [assembler.feed((i,)) for i in range(len(pieces))]
    return [*out, assembler.finish()], assembler


def test_characters_split_over_tokens_wait_for_their_last_byte() -> None:
    out, _ = assemble([b"a\xf0", b"\x9f\x98", b"\x80b"])
    assert out == ["a", "", "😀b", ""]


def test_an_unfinished_character_at_the_end_becomes_a_replacement() -> None:
    out, assembler = assemble([b"a", b"\xe2\x82"])
    assert out == ["a", "", "�"]
    assert assembler.text == "a�"


def test_bytes_that_are_no_utf8_are_replaced_at_once() -> None:
    out, _ = assemble([b"\xff", b"\xe2A", b"\xc0\x80"])
    assert out == ["�", "�A", "��", ""]


def test_a_stop_string_cuts_the_text_and_ends_taking() -> None:
    out, assembler = assemble([b"one\n", b"\nUs", b"er:", b" two"], ["\nUser:"])
    assert out == ["one", "\n", "", "", ""]
    assert assembler.stopped == "\nUser:"
    assert assembler.n_tokens == 3
    assert assembler.text == "one\n"


def test_a_held_back_tail_goes_out_when_it_was_no_stop_string() -> None:
    out, assembler = assemble([b"x<", b"/", b"p"], ["</s>"])
    assert out == ["x", "", "</p", ""]
    assert assembler.stopped is None


def test_a_held_back_tail_goes_out_at_the_end() -> None:
    assert assemble([b"x</"], ["</s>"])[0] == ["x", "</"]


def test_the_tail_shrinks_to_the_overlap_that_is_still_possible() -> None:
    out, assembler = assemble([b"a", b"a", b"a", b"b"], ["aab"])
    assert out == ["", "", "a", "", ""]
    assert assembler.stopped == "aab"


def test_a_stop_string_of_characters_of_several_bytes() -> None:
    out, assembler = assemble([b"\xc3", b"\xa9\xe2\x82", b"\xac", b"x"], ["é€"])
    assert out == ["", "", "", "", ""]
    assert (assembler.stopped, assembler.n_tokens) == ("é€", 3)


def test_the_earliest_of_several_stop_strings_wins() -> None:
    out, assembler = assemble([b"one STOP two END"], ["END", "STOP"])
    assert out == ["one ", ""]
    assert assembler.stopped == "STOP"


def test_of_two_stop_strings_at_one_place_the_first_listed_is_named() -> None:
    assert assemble([b"x##"], ["##", "#"])[1].stopped == "##"
    assert assemble([b"x##"], ["#", "##"])[1].stopped == "#"


def test_empty_stop_strings_stop_nothing() -> None:
    out, assembler = assemble([b"a", b"b"], ["", ""])
    assert out == ["a", "b", ""]
    assert assembler.stopped is None


def test_control_tokens_count_but_show_nothing() -> None:
    out, assembler = assemble([b"a", b""])
    assert out == ["a", "", ""]
    assert assembler.n_tokens == 2


def test_a_stop_string_inside_a_large_delivery_is_counted_to_its_token() -> None:
    assembler = TextAssembler([b"a", b"b", b"c"], ["cb"])
    assert assembler.feed([0, 1, 2, 1, 0, 0]) == "ab"
    assert (assembler.stopped, assembler.n_tokens) == ("cb", 4)
    assert assembler.feed([0]) == ""
    assert assembler.n_tokens == 4


def test_a_stop_string_can_be_completed_by_the_replacement_at_the_end() -> None:
    out, assembler = assemble([b"ab\xe2"], ["b�"])
    assert out == ["a", ""]
    assert assembler.stopped == "b�"


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ("abc", ["cde"], 2),
        ("abc", ["bcd", "c!"], 1),
        ("abc", ["abc"], 3),
        ("abab", ["abac", "bab!"], 1),
        ("", ["a"], 0),
    ],
)
def test_open_tail(text: str, words: list[str], at: int) -> None:
    assert open_tail(text, words) == at


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from([b"a", b"b", b"ab", b"aab", b"\n", "é".encode(), "😀".encode(), b"\xf0\x9f", b"\x98\x80", b""]),
    ),
    max_size=20,
)
STOPS = st.lists(st.text(alphabet="ab\né😀�", max_size=5), max_size=3)


def oracle(pieces: Sequence[bytes], stop: Sequence[str]) -> tuple[str, str | None, int]:
    """Text, stop string and token count by decoding and searching the whole anew after every token."""
    words = [word for word in stop if word]
    for n in range(1, len(pieces) + 1):
        text = getincrementaldecoder("utf-8")("replace").decode(b"".join(pieces[:n]))
        if hit := find_first(text, words):
            return text[: hit[0]], hit[1], n
    text = b"".join(pieces).decode("utf-8", "replace")
    hit = find_first(text, words)
    return (text[: hit[0]], hit[1], len(pieces)) if hit else (text, None, len(pieces))


@settings(deadline=None)
@given(PIECES, STOPS)
@example([b"\xed\xa0", b"\x80"], [])
@example([b"abc"], ["abc", "b"])
@example([b"a", b"b", b"c"], ["abc", "b"])
def test_text_equals_the_oracle_and_is_never_taken_back(pieces: list[bytes], stop: list[str]) -> None:
    text, stopped, n_tokens = oracle(pieces, stop)
    out, assembler = assemble(pieces, stop)
    assert ("".join(out), assembler.stopped, assembler.n_tokens) == (text, stopped, n_tokens)
    assert assembler.text == text


@settings(deadline=None)
@given(PIECES, STOPS, st.data())
def test_how_tokens_are_delivered_makes_no_difference(
    pieces: list[bytes], stop: list[str], data: st.DataObject
) -> None:
    singly, expected = assemble(pieces, stop)
    grouped = TextAssembler(pieces, stop)
    out, at = "", 0
    while at < len(pieces):
        end = data.draw(st.integers(at + 1, len(pieces)))
        out += grouped.feed(range(at, end))
        assert out == "".join(singly[:end])
        at = end
    assert out + grouped.finish() == "".join(singly)
    assert (grouped.stopped, grouped.n_tokens) == (expected.stopped, expected.n_tokens)


@settings(deadline=None)
@given(st.text(alphabet="ab\né", max_size=30), st.text(alphabet="ab\né", min_size=1, max_size=4))
def test_with_one_stop_string_even_the_split_into_tokens_makes_no_difference(text: str, stop: str) -> None:
    data = text.encode()
    expected = text.partition(stop)[0]
    for n in range(len(data) + 1):
        assert "".join(assemble([data[:n], data[n:]], [stop])[0]) == expected
    assert "".join(assemble([bytes([byte]) for byte in data], [stop])[0]) == expected


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab\né", max_size=4), max_size=12), STOPS)
def test_no_more_is_held_back_than_may_begin_a_stop_string(parts: list[str], stop: list[str]) -> None:
    words = [word for word in stop if word]
    pieces = [part.encode() for part in parts]
    assembler = TextAssembler(pieces, stop)
    so_far = ""
    for i, part in enumerate(parts):
        so_far += part
        assembler.feed((i,))
        if assembler.stopped:
            return
        held = so_far[len(assembler.text) :]
        tails = [so_far[at:] for at in range(len(so_far))]
        assert held == next((tail for tail in tails if any(word.startswith(tail) for word in words)), "")
