from __future__ import annotations

import pytest

from llamahttp.api.indent import IndentRule

CASES = [
    ("no new line at all", None),
    ("a\n  b", None),
    ("a\n  b\n c", 7),
    ("a\nb", 2),
    ("a\n\t b", None),
    ("a\n\n  b", 2),  # llama-server counts an empty line too
    ("a\n  \n  b", None),
    ("a\n ", None),  # it may go on
]


@pytest.mark.parametrize(("text", "end"), CASES)
@pytest.mark.parametrize("n", [1, 2, 100])
def test_every_line_but_the_first_is_indented(text: str, end: int | None, n: int) -> None:
    rule = IndentRule(2)
    for start in range(0, len(text), n):
        at = rule.end(text[start : start + n])
        if at is not None:
            assert start + at == end
            return
    assert end is None
