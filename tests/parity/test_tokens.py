"""The same request to llama-server and to ours gives the same tokens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .servers import N_CTX_SLOT, N_SLOTS, Pair, complete

PROMPTS: list[Any] = [
    "Hello",
    "Once upon a time",
    "What is the capital of France?",
    " leading space, trailing space ",
    "line\n\n\tanother line\r\n",
    "äöü ß € 漢字 😀 e\u0301",
    "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n",
    '{"name": "value", "list": [1, 2.5, -3e10, null]}',
    "def f(x):\n    return x ** 2\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "0123456789 " * 3,
    "x",
    [300],
    [301, 302, 303, 700, 701, 300],
    ["mixed ", 305, " prompt"],
    "a prompt of a hundred words or so " * 12,
    "one that takes more than one physical batch " * 20,
    "and one that takes more than a logical batch of five hundred and twelve tokens " * 10,
    "the same, not quite: " + "ab cd ef gh ij kl mn op qr st uv wx yz " * 16,
    "The end",
]
"""What a request may carry: words, blanks, Unicode, control tokens, token ids, and lengths around both batch sizes."""

SAMPLING: list[dict[str, Any]] = [
    {"temperature": 2.0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 0},
    {"top_k": 300},
    {"top_p": 0.3},
    {"top_p": 1.0, "top_k": 0, "min_p": 0.0},
    {"top_p": 0.01, "min_keep": 3},
    {"min_p": 0.3},
    {"repeat_penalty": 1.5},
    {"repeat_penalty": 1.3, "repeat_last_n": 4},
    {"repeat_penalty": 1.3, "repeat_last_n": 2000},
    {"repeat_penalty": 1.3, "repeat_last_n": 0},
    {"frequency_penalty": 0.9},
    {"presence_penalty": 1.2, "top_k": 0},
    {"presence_penalty": -0.5, "frequency_penalty": -0.5},
    {"temperature": 0, "repeat_penalty": 1.5},
    {"logit_bias": [[700, 6.0], [701, False], [702, -2.5]]},
    {"logit_bias": [[700, 4.0], [700, 4.0]]},
    {"temperature": 0, "logit_bias": [[700, 4.0], [701, 100.0]]},
    {"ignore_eos": True},
    {"ignore_eos": True, "logit_bias": [[2, 100.0]]},
]


def assert_same(ours: dict[str, Any], reference: dict[str, Any]) -> None:
    """Token for token, and in what else an answer says of its text."""
    assert ours["tokens"] == reference["tokens"]
    for name in ("content", "stop_type", "stopping_word", "truncated", "tokens_predicted", "tokens_evaluated"):
        assert ours[name] == reference[name], name


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_greedy(pair: Pair, prompt: Any) -> None:
    assert_same(*pair.both(prompt=prompt, temperature=0))


@pytest.mark.parametrize("prompt", PROMPTS[::2], ids=range(0, len(PROMPTS), 2))
def test_default_sampling_with_a_seed(pair: Pair, prompt: Any) -> None:
    assert_same(*pair.both(prompt=prompt, seed=42, temperature=0.8))


@pytest.mark.parametrize("sampling", SAMPLING, ids=str)
def test_each_sampling_parameter(pair: Pair, sampling: dict[str, Any]) -> None:
    for prompt in (PROMPTS[1], PROMPTS[15]):
        assert_same(*pair.both(prompt=prompt, seed=7, n_predict=40, **sampling))


@pytest.mark.parametrize("n_predict", [1, 2, 3])
def test_short_answers(pair: Pair, n_predict: int) -> None:
    assert_same(*pair.both(prompt=PROMPTS[1], temperature=0, n_predict=n_predict))


def test_stop_strings(pair: Pair) -> None:
    whole = complete(pair.ours, prompt=PROMPTS[1], temperature=0, n_predict=30)["content"]
    for start, stop in ((5, 7), (0, 1), (10, 20), (len(whole) - 1, len(whole))):
        words = ["never to be found", whole[start:stop]]
        ours, reference = pair.both(prompt=PROMPTS[1], temperature=0, n_predict=30, stop=words)
        for name in ("content", "stop_type", "stopping_word"):
            assert ours[name] == reference[name], name


def test_an_answer_that_fills_the_context(pair: Pair) -> None:
    prompt = [300 + i % 400 for i in range(960)]
    ours, reference = pair.both(prompt=prompt, temperature=0, n_predict=-1, ignore_eos=True)
    assert_same(ours, reference)
    assert (ours["stop_type"], len(ours["tokens"])) == ("limit", N_CTX_SLOT - len(prompt))


# --- log probabilities


def logprobs(answer: dict[str, Any]) -> list[dict[int, float]]:
    """The most likely tokens at each step with their log probabilities."""
    return [
        {entry["id"]: entry["logprob"] for entry in (step, *step["top_logprobs"])}
        for step in answer["completion_probabilities"]
    ]


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"seed": 3}], ids=str)
def test_log_probabilities(pair: Pair, sampling: dict[str, Any]) -> None:
    ours, reference = pair.both(prompt=PROMPTS[3], n_probs=7, n_predict=32, **sampling)
    assert_same(ours, reference)
    for mine, theirs in zip(logprobs(ours), logprobs(reference), strict=True):
        assert list(mine) == list(theirs), "best first"
        assert list(mine.values()) == pytest.approx(list(theirs.values()), abs=1e-3)


# --- where rounding differs

ROUNDING = 0.02
"""Of log probabilities. How many rows a batch has decides which kernels multiply and in which order they add: the
logits of a text differ by up to about 0.003 with the company it is computed in, in llama-server as in ours."""


def assert_same_but_for_rounding(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two greedy answers that may part only where two tokens were as good as equally likely."""
    steps = zip(answer["tokens"], expected["tokens"], logprobs(answer), logprobs(expected), strict=True)
    for token, expected_token, mine, theirs in steps:
        for common in mine.keys() & theirs.keys():
            assert abs(mine[common] - theirs[common]) < ROUNDING
        if token != expected_token:
            assert abs(theirs[token] - theirs[expected_token]) < ROUNDING
            return


def test_requests_at_the_same_time_get_what_each_gets_alone(pair: Pair) -> None:
    """More of them than slots, so that some wait, some join while others generate, and some end before."""
    requests = [
        {"prompt": prompt, "temperature": 0, "n_probs": 5, "n_predict": 20 + 4 * i}
        for i, prompt in enumerate(PROMPTS[: 2 * N_SLOTS])
    ]
    alone = [complete(pair.ours, **request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: complete(pair.ours, **request), requests))
    for answer, expected in zip(together, alone, strict=True):
        assert_same_but_for_rounding(answer, expected)


def test_a_second_turn_over_a_cached_first_is_what_a_clean_run_gives(pair: Pair) -> None:
    request = {"temperature": 0, "n_probs": 5, "n_predict": 24, "id_slot": 1}
    first_prompt = PROMPTS[15]
    first = complete(pair.ours, prompt=first_prompt, cache_prompt=True, **request)
    for second_prompt in (
        first_prompt + first["content"] + " and then",  # goes on
        first_prompt + " but no",  # leaves the answer
        first_prompt[:50] + " something else",  # leaves part of the prompt
        first_prompt,  # the same again: only its last token is computed
    ):
        second = complete(pair.ours, prompt=second_prompt, cache_prompt=True, **request)
        clean = complete(pair.reference, prompt=second_prompt, **request)
        assert second["tokens_cached"] > 0
        assert second["timings"]["cache_n"] > 0
        assert clean["timings"]["cache_n"] == 0
        assert_same_but_for_rounding(second, clean)
