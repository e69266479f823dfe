from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.api.responses.custom_input import CustomInput


def fed(text: str, cuts: list[int]) -> list[str]:
    """What is shown of `text`, cut into pieces."""
    reader = CustomInput()
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [reader.feed(text[start:end]) for start, end in pairwise(ends)]


@given(st.text(), st.booleans(), st.sampled_from([None, 2]), st.lists(st.integers(0, 200)))
def test_any_text_comes_through_in_any_pieces(said: str, is_ascii: bool, indent: int | None, cuts: list[int]) -> None:
    text = json.dumps({"input": said}, ensure_ascii=is_ascii, indent=indent)
    assert "".join(fed(text, cuts)) == said


@given(st.text(), st.lists(st.integers(0, 200)))
def test_what_is_shown_never_has_to_be_taken_back(said: str, cuts: list[int]) -> None:
    shown = ""
    for piece in fed(json.dumps({"input": said}), cuts):
        shown += piece
        assert said.startswith(shown)


@pytest.mark.parametrize("text", ["{}", '{"patch": "x"}', '{"input": 3}', "[]", '{"input', "x"])
def test_arguments_without_an_input_are_given_as_they_stand(text: str) -> None:
    shown = "".join(fed(text, list(range(len(text)))))
    assert shown == ("" if text == '{"input' else text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"\q\u12zz", "qu12zz"),
        (r"\ud83dx", "\ufffdx"),
        (r"\ud83d\n", "\ufffd\n"),
        (r"\ude00x", "\ufffdx"),
        ("a\nb", "a\nb"),
    ],
)
def test_what_is_no_valid_string_is_read_as_well_as_can_be(text: str, shown: str) -> None:
    assert "".join(fed(f'{{"input": "{text}"}}', [])) == shown
