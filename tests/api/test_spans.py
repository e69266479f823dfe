from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llamahttp.api.spans import TokenSpans


def test_parts_and_what_is_between_them() -> None:
    pieces = [b"we", b"ll", b"\n</think>", b"\n\n", b"y", b"es"]
    ids, text = range(6), "well\n</think>\n\nyes"
    spans = TokenSpans(pieces, 0)
    assert spans.locate(ids, text, "well") == slice(0, 2)
    assert spans.locate(ids, text, "yes") == slice(4, 6)


def test_a_token_belongs_to_one_part() -> None:
    pieces = [b"ab", b"cd"]
    spans = TokenSpans(pieces, 0)
    assert spans.locate([0], "a", "a") == slice(0, 1)
    assert spans.locate([0, 1], "abc", "bc") == slice(1, 2)
    assert spans.locate([0, 1], "abcd", "d") == slice(2, 2)


def test_text_that_was_there_before() -> None:
    assert TokenSpans([b"x"], 3).locate([0], "prex", "x") == slice(0, 1)


def test_characters_of_several_tokens() -> None:
    pieces = [bytes([byte]) for byte in "aé€".encode()]
    spans = TokenSpans(pieces, 0)
    assert spans.locate(range(3), "aé", "aé") == slice(0, 3)
    assert spans.locate(range(6), "aé€", "€") == slice(3, 6)


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1), st.integers(1, 3))
def test_all_tokens_belong_to_the_parts_of_a_whole_text(parts: list[str], width: int) -> None:
    text = "".join(parts)
    data = text.encode()
    pieces = [data[i : i + width] for i in range(0, len(data), width)]
    spans = TokenSpans(pieces, 0)
    found = [spans.locate(range(len(pieces)), text, part) for part in parts]
    assert (found[0].start, found[-1].stop) == (0, len(pieces))
    assert all(before.stop == after.start for before, after in pairwise(found))
