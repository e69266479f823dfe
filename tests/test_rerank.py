"""What a classifier rates: the model's template, or the special tokens of its vocabulary."""

from __future__ import annotations

import pytest
from fakes import FakeVocab

from llamahttp.rerank import rerank_prompt


class Bert(FakeVocab):
    """Bytes, with [CLS] 1 and [SEP] 2."""

    bos, eos, sep = 1, 2, 2
    adds_bos = adds_eos = True


class XLMRoberta(Bert):
    """The end of the one text and the separator are both added."""

    sep = 3
    adds_sep = True


class NoEnd(Bert):
    """Without an end of its own the separator stands in."""

    eos, sep = -1, 3


@pytest.mark.parametrize(
    ("vocab", "expected"),
    [
        (FakeVocab(), b"qd"),
        (Bert(), b"\1q\2d\2"),
        (XLMRoberta(), b"\1q\2\3d\2"),
        (NoEnd(), b"\1q\3d\3"),
    ],
)
def test_without_a_template_special_tokens_part_the_texts(vocab: FakeVocab, expected: bytes) -> None:
    assert bytes(rerank_prompt(vocab, None, "q", "d").tolist()) == expected


def test_a_template_is_filled_in() -> None:
    assert bytes(rerank_prompt(Bert(), "<{document}|{query}|{x}>", "q", "d").tolist()) == b"<d|q|{x}>"


def test_a_query_that_names_a_placeholder_is_only_text() -> None:
    assert bytes(rerank_prompt(Bert(), "{query}|{document}", "{document}", "{query}").tolist()) == b"{document}|{query}"
