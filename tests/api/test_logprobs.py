from __future__ import annotations

import math

from llamahttp.api.logprobs import legacy_logprobs, token_probs
from llamahttp.api.schema import Probabilities
from llamahttp.task import TokenProbs

PIECES = [b"a", b"\xc3", b"\xc3\xa9", b"x\xc3"]
LOWEST = -3.4028234663852886e38


def test_a_token_that_is_no_text_shows_its_bytes() -> None:
    probs = [TokenProbs(-0.5, ((2, -1.0), (1, -math.inf))), TokenProbs(-1.0, ())]
    first, second = token_probs([1, 3], probs, Probabilities(5, 5), PIECES)
    assert (first["token"], first["bytes"], first["logprob"]) == ("", [0xC3], -0.5)
    assert first["top_logprobs"] == [
        {"id": 2, "token": "é", "bytes": [0xC3, 0xA9], "logprob": -1.0},
        {"id": 1, "token": "", "bytes": [0xC3], "logprob": LOWEST},
    ]
    assert (second["token"], second["top_logprobs"]) == ("x", [])


def test_probabilities_after_sampling_have_other_names() -> None:
    probs = [TokenProbs(0.0, ((0, 0.0), (1, -math.inf)))]
    (entry,) = token_probs([0], probs, Probabilities(5, 5, is_post=True), [b"a", b"b"])
    assert entry == {
        "id": 0,
        "token": "a",
        "bytes": [97],
        "prob": 1.0,
        "top_probs": [
            {"id": 0, "token": "a", "bytes": [97], "prob": 1.0},
            {"id": 1, "token": "b", "bytes": [98], "prob": 0.0},
        ],
    }


def test_openai_s_own_shape_has_lists() -> None:
    probs = [TokenProbs(-0.5, ((0, -0.5), (1, -math.inf))), TokenProbs(-1.0, ()), TokenProbs(-2.0, ((0, -3.0),))]
    assert legacy_logprobs([0, 2, 1], probs, 1, PIECES, 7) == {
        "tokens": ["a", "é", "bytes:\\xc3"],
        "token_logprobs": [-0.5, -1.0, -2.0],
        "top_logprobs": [{"a": -0.5}, {}, {"a": -3.0}],
        "text_offset": [7, 8, 9],
    }
