"""Each sampler alone, and some of them in other orders, gives llama-server's tokens for the same seed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from llamahttp.api.schema import SAMPLING_NAMES

from .servers import Pair, complete
from .test_tokens import PROMPTS, assert_same

ALONE: list[dict[str, Any]] = [
    {"samplers": []},
    {"samplers": ["temperature"], "temperature": 1.7},
    {"samplers": ["temperature"], "temperature": 0.05},
    {"samplers": ["top_p"], "top_p": 0.6},
    {"samplers": ["top_p"], "top_p": 0.9},
    {"samplers": ["min_p"], "min_p": 0.2},
    {"samplers": ["typ_p"], "typical_p": 0.6},
    {"samplers": ["top_n_sigma"], "top_n_sigma": 1.0},
    {"samplers": ["xtc"], "xtc_probability": 0.7, "xtc_threshold": 0.01},
    {"samplers": ["dry"], "dry_multiplier": 2.5, "dry_allowed_length": 1},
    {"samplers": ["dry"], "dry_multiplier": 2.5, "dry_allowed_length": 0, "dry_penalty_last_n": 7},
    {"samplers": ["dry", "temperature"], "temperature": 0, "dry_multiplier": 5, "dry_sequence_breakers": ["e", "th"]},
    {"samplers": ["penalties"], "repeat_penalty": 1.4, "presence_penalty": 0.3},
    {"samplers": ["adaptive_p"], "adaptive_target": 0.2, "adaptive_decay": 0.7},
    {"samplers": ["adaptive_p"]},
    {"samplers": ["top_k", "infill"], "top_k": 20},
    {"samplers": ["temperature"], "temperature": 1.0, "dynatemp_range": 0.8, "dynatemp_exponent": 1.5},
    {"mirostat": 1},
    {"mirostat": 1, "mirostat_tau": 2.0, "mirostat_eta": 0.3},
    {"mirostat": 2},
    {"mirostat": 2, "mirostat_tau": 0.0, "temperature": 1.3},
    {"mirostat": 2, "temperature": 0},
]

TOGETHER: list[dict[str, Any]] = [
    {"dry_multiplier": 1.5, "dry_penalty_last_n": 1000, "repeat_penalty": 1.2},
    {"typical_p": 0.7, "xtc_probability": 0.5, "dynatemp_range": 0.5},
    {"top_n_sigma": 0.8},
    {"xtc_probability": 0.5, "temperature": 0},
    {"samplers": "tkpmx", "xtc_probability": 0.5},
    {"samplers": "xypmkt", "typical_p": 0.9, "xtc_probability": 0.3, "top_k": 0},
    {"samplers": ["min-p", "Temp", "topk", "nucleus", "PENALTIES"], "repeat_penalty": 1.3},
    {"samplers": ["temperature", "top_p"], "temperature": 1.5, "top_p": 0.8},
    {"samplers": ["temperature", "min_p", "temperature"], "temperature": 1.5, "min_p": 0.1},
    {"samplers": "kat", "adaptive_target": 0.5},
    {"samplers": "t", "logit_bias": {"700": False, "the": 3.5}},
    {"samplers": "p", "top_p": 0.9, "ignore_eos": True},
    {"samplers": "mt", "min_keep": 5, "min_p": 0.9},
    {"samplers": "pt", "min_keep": 5, "top_p": 0.1},
]


@pytest.mark.parametrize("sampling", ALONE + TOGETHER, ids=str)
def test_samplers(pair: Pair, sampling: dict[str, Any]) -> None:
    for prompt in (PROMPTS[1], PROMPTS[15]):
        ours, reference = pair.both(prompt=prompt, seed=7, n_predict=40, **sampling)
        assert_same(ours, reference)
        for name in (*SAMPLING_NAMES, "logit_bias", "post_sampling_probs"):
            mine, theirs = ours["generation_settings"][name], reference["generation_settings"][name]
            if name == "logit_bias":
                mine, theirs = ({entry["token"]: entry["bias"] for entry in biases} for biases in (mine, theirs))
                theirs = {token: bias for token, bias in theirs.items() if bias is not None or token in mine}
            assert mine == (pytest.approx(theirs, abs=1e-6) if isinstance(theirs, float) else theirs), name


POST: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"samplers": "t"},
    {"samplers": "yt", "typical_p": 0.5},
    {"samplers": "ka"},
    {"mirostat": 2},
    {"top_k": 0, "top_p": 0.5, "min_p": 0},
    {"samplers": "mt"},
    {"xtc_probability": 1, "xtc_threshold": 0.01},
]


@pytest.mark.parametrize("sampling", POST, ids=str)
def test_probabilities_after_sampling(pair: Pair, sampling: dict[str, Any]) -> None:
    ours, reference = pair.both(
        prompt=PROMPTS[3], n_probs=6, post_sampling_probs=True, n_predict=24, seed=5, **sampling
    )
    assert_same(ours, reference)
    shown = {entry["id"] for entry in reference["completion_probabilities"]}  # tokens that are no text are not there
    steps = [entry for entry in ours["completion_probabilities"] if entry["id"] in shown]
    for mine, theirs in zip(steps, reference["completion_probabilities"], strict=True):
        assert mine["id"] == theirs["id"]
        assert mine["prob"] == pytest.approx(theirs["prob"], abs=1e-4)
        assert [entry["id"] for entry in mine["top_probs"]] == [entry["id"] for entry in theirs["top_probs"]]
        expected = [entry["prob"] for entry in theirs["top_probs"]]
        assert [entry["prob"] for entry in mine["top_probs"]] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        {"repeat_last_n": -1},
        {"dry_penalty_last_n": -1},
        {"dry_allowed_length": -2},
        {"min_keep": -1},
        {"adaptive_decay": 1.5},
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused_in_the_same_words(pair: Pair, body: dict[str, Any]) -> None:
    ours, reference = (refusal(url, body) for url in (pair.ours, pair.reference))
    assert ours == reference


def refusal(url: str, body: dict[str, Any]) -> tuple[int, str]:
    """Status and message of a request that fails."""
    data = json.dumps({"prompt": "x", "n_predict": 1} | body).encode()
    request = urllib.request.Request(f"{url}/completion", data, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as answer:
        return answer.code, json.load(answer)["error"]["message"]


def test_soft_limits_are_the_same(pair: Pair) -> None:
    for body in ({"xtc_probability": 3}, {"mirostat": 7}, {"adaptive_target": 2}, {"top_p": 5}, {"dry_base": 0.3}):
        (name,) = body
        ours, reference = pair.both(prompt="x", n_predict=1, **body)
        assert ours["generation_settings"][name] == pytest.approx(reference["generation_settings"][name])


def test_dry_in_a_long_answer(pair: Pair) -> None:
    body = {"prompt": PROMPTS[15], "n_predict": 200, "seed": 3, "ignore_eos": True}
    sampling = {"dry_multiplier": 0.8, "dry_penalty_last_n": 5000}
    assert complete(pair.ours, **body, **sampling)["tokens"] == complete(pair.reference, **body, **sampling)["tokens"]
