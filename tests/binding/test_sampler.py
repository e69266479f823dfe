"""Samplers: whichever tier a request takes, its tokens are those of libllama's own chain over the whole vocabulary."""

from __future__ import annotations

import gc
import math
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamahttp.binding.dry import MAX_KEPT
from llamahttp.binding.model import LlamaModel
from llamahttp.binding.sampler_factory import LlamaSamplerFactory
from llamahttp.candidates import NO_TOKEN
from llamahttp.errors import InvalidRequest
from llamahttp.samplers import SAMPLERS
from llamahttp.sampling import Tier
from llamahttp.task import SamplingParams, TokenProbs

from .chain import FullChain

N_STEPS = 6
VOCAB_SIZES = (2, 50, 300, 1200, 32_000)
NO_PROMPT = np.zeros(0, np.int32)


def eog_of(n_vocab: int) -> frozenset[int]:
    return frozenset({1, n_vocab // 2})


class SizedVocab:
    """All that a factory asks of a vocabulary, of any size. It has no texts: DRY must not look for breakers in it."""

    handle = None
    eos = -1

    def __init__(self, n_tokens: int, suppressed: tuple[int, ...] = ()) -> None:
        self.n_tokens = n_tokens
        self.eog = eog_of(n_tokens)
        self.suppressed = suppressed


def factory(n_vocab: int, suppressed: tuple[int, ...] = ()) -> LlamaSamplerFactory:
    return LlamaSamplerFactory(SizedVocab(n_vocab, suppressed), n_workers=2)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def factories() -> Iterator[dict[int, LlamaSamplerFactory]]:
    made = {n_vocab: factory(n_vocab) for n_vocab in VOCAB_SIZES}
    yield made
    for each in made.values():
        each.close()


@pytest.fixture
def large(factories: dict[int, LlamaSamplerFactory]) -> LlamaSamplerFactory:
    return factories[32_000]


def logits_of(n_vocab: int, n_rows: int, seed: int) -> NDArray[np.float32]:
    """Logits as of a model, from nearly flat to nearly certain. No two of the large ones are equal."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, rng.uniform(0.5, 6), (n_rows, n_vocab)).astype(np.float32)


def oracle(
    factory: LlamaSamplerFactory, params: SamplingParams, prompt: NDArray[np.int32], logits: NDArray[np.float32]
) -> list[int]:
    """What libllama's whole chain chooses from each row in turn."""
    with FullChain(params, eog_of(factory.n_vocab), factory.n_vocab, prompt) as chain:
        return [chain.sample(row) for row in logits]


def sampled(
    factory: LlamaSamplerFactory, params: SamplingParams, prompt: NDArray[np.int32], logits: NDArray[np.float32]
) -> list[int]:
    """What our sampler chooses from each row in turn."""
    sampler = factory.open(params, prompt)
    try:
        return [factory.sample([sampler], row[np.newaxis])[0] for row in logits]
    finally:
        sampler.close()


@st.composite
def sampling_params(draw: st.DrawFn, n_vocab: int) -> SamplingParams:
    token = st.integers(0, n_vocab - 1)
    bias = st.sampled_from([-math.inf, -3.0, 0.5, 4.0, 100.0])
    penalised, special = draw(st.booleans()), draw(st.booleans())
    return SamplingParams(
        seed=draw(st.integers(0, 2**32 - 2)),
        temperature=draw(st.sampled_from([0.0, 0.3, 0.8, 1.0, 2.0])),
        top_k=draw(st.sampled_from([0, 0, 1, 5, 40, 200, 436, 500])),
        top_p=draw(st.sampled_from([0.1, 0.5, 0.95, 1.0])),
        min_p=draw(st.sampled_from([0.0, 0.05, 0.5])),
        min_keep=draw(st.sampled_from([0, 0, 1, 3])),
        repeat_last_n=draw(st.sampled_from([0, 1, 16, 64, 400])) if penalised else 64,
        repeat_penalty=draw(st.sampled_from([1.0, 1.3, 0.5])) if penalised else 1.0,
        frequency_penalty=draw(st.sampled_from([0.0, 0.7, -0.7])) if penalised else 0.0,
        presence_penalty=draw(st.sampled_from([0.0, 1.5])) if penalised else 0.0,
        logit_bias=tuple(draw(st.lists(st.tuples(token, bias), max_size=4))),
        ignore_eos=draw(st.booleans()),
        dynatemp_range=draw(st.sampled_from([0.0, 0.5])) if special else 0.0,
        dynatemp_exponent=draw(st.sampled_from([1.0, 2.0])),
        top_n_sigma=draw(st.sampled_from([-1.0, 1.0])) if special else -1.0,
        typical_p=draw(st.sampled_from([1.0, 0.5])) if special else 1.0,
        xtc_probability=draw(st.sampled_from([0.0, 0.5, 1.0])) if special else 0.0,
        xtc_threshold=draw(st.sampled_from([0.1, 0.02])),
        dry_multiplier=draw(st.sampled_from([0.0, 0.8, -5.0])) if penalised else 0.0,
        dry_allowed_length=draw(st.integers(0, 2)),
        dry_penalty_last_n=draw(st.sampled_from([1, 16, 64, 400])),
        dry_sequence_breakers=(),
        mirostat=draw(st.sampled_from([0, 0, 0, 1, 2])) if special else 0,
        mirostat_tau=draw(st.sampled_from([0.0, 2.0, 5.0])),
        adaptive_target=draw(st.sampled_from([-1.0, 0.3])),
        samplers=draw(orders()),
    )


@st.composite
def orders(draw: st.DrawFn) -> tuple[str, ...]:
    """Half of them llama-server's own, else any samplers in any order."""
    if draw(st.booleans()):
        return SAMPLERS
    return tuple(draw(st.lists(st.sampled_from((*SAMPLERS, "adaptive_p")), max_size=6, unique=True)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[SamplingParams], list[NDArray[np.int32]], int]:
    """A vocabulary, several requests over it with their prompts, and a seed for the logits."""
    n_vocab = draw(st.sampled_from(VOCAB_SIZES[1:]))
    n_requests = draw(st.integers(1, 4))
    params = [draw(sampling_params(n_vocab)) for _ in range(n_requests)]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    # few different tokens, so that they repeat and are often likely
    prompts = [rng.integers(0, min(n_vocab, 80), rng.integers(1, 120)).astype(np.int32) for _ in range(n_requests)]
    return n_vocab, params, prompts, draw(st.integers(0, 10_000))


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_requests_sampled_together_get_the_tokens_of_the_whole_chain(
    factories: dict[int, LlamaSamplerFactory],
    case: tuple[int, list[SamplingParams], list[NDArray[np.int32]], int],
) -> None:
    n_vocab, params, prompts, seed = case
    factory = factories[n_vocab]
    rows = logits_of(n_vocab, N_STEPS * len(params), seed).reshape(N_STEPS, len(params), n_vocab)
    with ExitStack() as stack:
        samplers = [factory.open(each, prompt) for each, prompt in zip(params, prompts, strict=True)]
        for sampler in samplers:
            stack.callback(sampler.close)
        ours = [factory.sample(samplers, logits) for logits in rows]
    for i, (each, prompt) in enumerate(zip(params, prompts, strict=True)):
        expected = oracle(factory, each, prompt, rows[:, i])
        assert [step[i] for step in ours] == expected, samplers[i].tier


def test_tiers_follow_the_parameters(large: LlamaSamplerFactory) -> None:
    params = [
        SamplingParams(temperature=0),
        SamplingParams(),
        SamplingParams(top_k=0),
        SamplingParams(top_k=0, top_p=1),
        SamplingParams(samplers=("temperature",)),
        SamplingParams(mirostat=1),
    ]
    samplers = [large.open(each, NO_PROMPT) for each in params]
    expected = [Tier.GREEDY, Tier.CANDIDATES, Tier.NUCLEUS, Tier.FLOOR, Tier.DRAW, Tier.FULL]
    assert [sampler.tier for sampler in samplers] == expected
    for sampler in samplers:
        sampler.close()


@pytest.mark.parametrize("repeat_last_n", [1, 7, 64, 100, 101, 300])
def test_penalties_look_back_at_as_much_of_prompt_and_answer_as_asked_for(
    large: LlamaSamplerFactory, repeat_last_n: int
) -> None:
    params = SamplingParams(seed=3, repeat_penalty=1.5, frequency_penalty=0.5, repeat_last_n=repeat_last_n)
    prompt = np.arange(100, dtype=np.int32)
    logits = logits_of(large.n_vocab, 120, 1)
    logits[:, :110] += 15  # the prompt's tokens and a few more are by far the likeliest
    assert sampled(large, params, prompt, logits) == oracle(large, params, prompt, logits)


def test_a_history_of_any_length_may_be_asked_for(large: LlamaSamplerFactory) -> None:
    """libllama would reserve 8 GiB for it."""
    longest = SamplingParams(seed=3, repeat_penalty=1.5, repeat_last_n=2**31 - 1)
    prompt = np.arange(100, dtype=np.int32)
    logits = logits_of(large.n_vocab, 5, 1)
    logits[:, :110] += 15
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = sampled(large, longest, prompt, logits)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert ours == oracle(large, replace(longest, repeat_last_n=1000), prompt, logits)


@pytest.mark.parametrize("params", [SamplingParams(temperature=0), SamplingParams(seed=1), SamplingParams(top_k=0)])
def test_a_ban_wins_over_a_bias_for_the_same_token(large: LlamaSamplerFactory, params: SamplingParams) -> None:
    logits = logits_of(large.n_vocab, 1, 5)
    eos = min(eog_of(large.n_vocab))
    wanted = replace(params, logit_bias=((eos, 100.0),))
    assert sampled(large, wanted, NO_PROMPT, logits) == [eos]
    assert sampled(large, replace(wanted, ignore_eos=True), NO_PROMPT, logits) != [eos]


@pytest.mark.parametrize("params", [SamplingParams(temperature=0), SamplingParams(seed=1), SamplingParams(top_k=0)])
def test_biases_of_the_same_token_add_up(large: LlamaSamplerFactory, params: SamplingParams) -> None:
    logits = np.zeros((1, large.n_vocab), np.float32)
    logits[0, 7] = 50.0
    twice = replace(params, logit_bias=((9, 40.0), (9, 40.0)))
    assert sampled(large, twice, NO_PROMPT, logits) == [9]


@pytest.mark.parametrize("params", [SamplingParams(temperature=0), SamplingParams(seed=1), SamplingParams(top_k=0)])
def test_tokens_that_the_model_forbids_never_come(params: SamplingParams) -> None:
    strict = factory(32_000, suppressed=(5, 6))
    logits = np.zeros((1, 32_000), np.float32)
    logits[0, 5], logits[0, 6], logits[0, 7] = 300, 200, 100
    assert sampled(strict, params, NO_PROMPT, logits) == [7]
    strict.close()


@pytest.mark.parametrize("top_k", [2, 40, 200, 0])
def test_of_equal_logits_the_chosen_one_is_as_likely_as_the_whole_chains(
    large: LlamaSamplerFactory, top_k: int
) -> None:
    """Which of several equal logits comes first depends on the order in which a sort meets them: not ours to keep."""
    logits = np.round(logits_of(large.n_vocab, 30, 2) * 4) / 4
    params = SamplingParams(seed=11, top_k=top_k, temperature=1.5)
    rows = np.arange(30)
    ours, expected = (pick(large, params, NO_PROMPT, logits) for pick in (sampled, oracle))
    assert logits[rows, ours].tolist() == logits[rows, expected].tolist()


def test_more_biases_than_there_are_candidates(factories: dict[int, LlamaSamplerFactory]) -> None:
    """With a small vocabulary, and nothing else that looks back: the engine failed."""
    biases = tuple((token, 0.01 * token) for token in range(300))
    for params in (SamplingParams(temperature=0, logit_bias=biases), SamplingParams(seed=1, logit_bias=biases)):
        logits = logits_of(1200, N_STEPS, 5)
        sampler = factories[1200].open(params, NO_PROMPT)
        tokens = [factories[1200].sample([sampler], row[None])[0] for row in logits]
        assert tokens == oracle(factories[1200], params, NO_PROMPT, logits)


def test_a_seed_repeats_and_the_random_one_does_not(large: LlamaSamplerFactory) -> None:
    logits = logits_of(large.n_vocab, 40, 8) * np.float32(0.1)
    flat = SamplingParams(top_p=1.0, min_p=0.0, top_k=0)
    first, second = (sampled(large, replace(flat, seed=5), NO_PROMPT, logits) for _ in range(2))
    assert first == second
    first, second = (sampled(large, flat, NO_PROMPT, logits) for _ in range(2))
    assert first != second


def test_logits_are_only_read(large: LlamaSamplerFactory) -> None:
    logits = logits_of(large.n_vocab, 3, 9)
    logits.flags.writeable = False
    params = [SamplingParams(temperature=0, logit_bias=((int(logits[0].argmax()), -math.inf),)), SamplingParams()]
    samplers = [large.open(each, NO_PROMPT) for each in (*params, SamplingParams(top_k=0))]
    assert len(large.sample(samplers, logits)) == 3
    for sampler in samplers:
        sampler.close()


def test_wrong_parameters_are_refused(large: LlamaSamplerFactory) -> None:
    with pytest.raises(InvalidRequest, match="token 32000 is not in the vocabulary of 32000 tokens"):
        large.open(SamplingParams(logit_bias=((32_000, 1.0),)), NO_PROMPT)


NAN_PARAMS = [SamplingParams(temperature=0), SamplingParams(logit_bias=((9, 1.0),)), SamplingParams(top_k=0)]


@pytest.mark.parametrize("params", NAN_PARAMS, ids=["greedy", "candidates", "full"])
@pytest.mark.parametrize("wrong", [slice(None), 9])
def test_logits_that_are_not_numbers_give_no_token(
    large: LlamaSamplerFactory, params: SamplingParams, wrong: slice | int
) -> None:
    """libllama would abort the process, or sort beyond the end of its memory."""
    logits = logits_of(large.n_vocab, 1, 3)
    logits[0, wrong] = np.nan
    assert sampled(large, params, NO_PROMPT, logits) == [NO_TOKEN]
    assert sampled(large, params, NO_PROMPT, logits_of(large.n_vocab, 1, 3)) != [NO_TOKEN], "the next request works"


def test_logits_that_are_not_numbers_do_not_touch_the_other_rows(large: LlamaSamplerFactory) -> None:
    logits = logits_of(large.n_vocab, 6, 3)
    seeded = [replace(params, seed=5) for params in NAN_PARAMS * 2]
    expected = [sampled(large, params, NO_PROMPT, logits[i : i + 1])[0] for i, params in enumerate(seeded)]
    logits[:3] = np.nan
    samplers = [large.open(params, NO_PROMPT) for params in seeded]
    assert large.sample(samplers, logits) == [NO_TOKEN] * 3 + expected[3:]


def test_closing_twice_and_accepting_after_it_do_no_harm(large: LlamaSamplerFactory) -> None:
    sampler = large.open(SamplingParams(repeat_penalty=2.0), np.arange(5, dtype=np.int32))
    sampler.close()
    sampler.close()
    sampler.accept(3)


def test_ten_thousand_samplers_leave_nothing_behind(large: LlamaSamplerFactory) -> None:
    params = SamplingParams(repeat_penalty=1.1, logit_bias=((3, 1.0),))
    prompt = np.arange(20, dtype=np.int32)
    logits = logits_of(large.n_vocab, 1, 4)

    def churn(n: int) -> int:
        for _ in range(n):
            sampler = large.open(params, prompt)
            sampler.close()
        sampled(large, params, prompt, logits)
        gc.collect()
        return resident_bytes()

    before = churn(1000)
    assert churn(10_000) - before < 8 << 20  # a chain takes about 8 KB: 80 MB if they stayed


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# --- log probabilities


def test_log_probabilities_are_over_the_raw_logits_best_first(large: LlamaSamplerFactory) -> None:
    row = logits_of(large.n_vocab, 1, 6)[0]
    sampler = large.open(SamplingParams(temperature=0), NO_PROMPT)
    probs = large.probs(sampler, row, token=17, n_top=5)
    exact = row.astype(np.float64) - np.logaddexp.reduce(row.astype(np.float64))
    assert [token for token, _ in probs.top] == np.argsort(-row)[:5].tolist()
    assert np.allclose([value for _, value in probs.top], np.sort(exact)[::-1][:5], atol=1e-4)
    assert probs.logprob == pytest.approx(exact[17], abs=1e-4)


def test_more_log_probabilities_than_tokens_are_all_there_are(factories: dict[int, LlamaSamplerFactory]) -> None:
    sampler = factories[2].open(SamplingParams(temperature=0), NO_PROMPT)
    probs = factories[2].probs(sampler, np.array([0.0, 1.0], np.float32), token=0, n_top=10)
    assert [token for token, _ in probs.top] == [1, 0]
    assert sum(math.exp(value) for _, value in probs.top) == pytest.approx(1)


def test_a_factory_over_a_real_vocabulary_ignores_eos(llama: LlamaModel) -> None:
    real = LlamaSamplerFactory(llama.vocab, n_workers=1)
    logits = np.zeros((1, llama.vocab.n_tokens), np.float32)
    logits[0, sorted(llama.vocab.eog)] = 10
    assert sampled(real, SamplingParams(temperature=0), NO_PROMPT, logits)[0] in llama.vocab.eog
    assert sampled(real, SamplingParams(temperature=0, ignore_eos=True), NO_PROMPT, logits)[0] not in llama.vocab.eog
    real.close()
    real.close()


# --- probabilities after the chain


def post_probs(
    factory: LlamaSamplerFactory, params: SamplingParams, row: NDArray[np.float32]
) -> tuple[int, TokenProbs]:
    sampler = factory.open(params, NO_PROMPT)
    (token,) = factory.sample([sampler], row[np.newaxis])
    probs = factory.probs(sampler, row, token, params.n_post_probs)
    sampler.close()
    return token, probs


@pytest.mark.parametrize(
    "samplers", [("top_k", "temperature"), ("top_p", "temperature"), ("min_p", "temperature"), ("typ_p", "temperature")]
)
def test_probabilities_after_the_chain_are_those_of_the_tokens_that_it_leaves(
    large: LlamaSamplerFactory, samplers: tuple[str, ...]
) -> None:
    row = np.full(large.n_vocab, -20, np.float32)
    row[[5, 6, 7]] = 3, 2, 1
    params = SamplingParams(seed=1, top_k=3, top_p=0.99, typical_p=0.99, temperature=2, samplers=samplers)
    token, probs = post_probs(large, replace(params, n_post_probs=5), row)
    weights = np.exp(np.array([3, 2, 1]) / 2)
    assert [id_top for id_top, _ in probs.top] == [5, 6, 7]
    assert [logprob for _, logprob in probs.top] == pytest.approx(np.log(weights / weights.sum()).tolist(), abs=1e-5)
    assert probs.logprob == dict(probs.top)[token]
    assert len(post_probs(large, replace(params, n_post_probs=2), row)[1].top) == 2


@pytest.mark.parametrize("params", [SamplingParams(temperature=0), SamplingParams(top_k=1)])
def test_the_likeliest_token_is_certain_after_a_greedy_chain(
    large: LlamaSamplerFactory, params: SamplingParams
) -> None:
    row = logits_of(large.n_vocab, 1, 3)[0]
    token, probs = post_probs(large, replace(params, n_post_probs=3), row)
    assert token == row.argmax()
    assert probs == TokenProbs(0.0, ((token, 0.0),))


def test_no_cut_leaves_all_tokens(large: LlamaSamplerFactory) -> None:
    row = logits_of(large.n_vocab, 1, 3)[0]
    _, probs = post_probs(large, SamplingParams(samplers=(), n_post_probs=7), row)
    sampler = large.open(SamplingParams(samplers=()), NO_PROMPT)
    before = large.probs(sampler, row, 0, 7)
    assert [token for token, _ in probs.top] == [token for token, _ in before.top]
    assert [p for _, p in probs.top] == pytest.approx([p for _, p in before.top], abs=1e-4)


# --- what could abort

WILD = (
    SamplingParams(mirostat=1, mirostat_tau=0),
    SamplingParams(mirostat=2, mirostat_tau=0, mirostat_eta=1e38),
    SamplingParams(mirostat=1, mirostat_tau=-1e38, mirostat_eta=-1e38),
    SamplingParams(mirostat=2, temperature=1e-29),
    SamplingParams(dynatemp_range=1e38, dynatemp_exponent=-1e38),
    SamplingParams(dynatemp_range=1, dynatemp_exponent=0, temperature=-1e38),
    SamplingParams(top_n_sigma=1e38, typical_p=0, top_p=0, min_p=1),
    SamplingParams(top_n_sigma=1e-38, typical_p=-1e38, top_p=-1e38, min_p=1e38),
    SamplingParams(typical_p=0.5, top_k=0, temperature=1e38, samplers=("temperature", "typ_p", "top_n_sigma")),
    SamplingParams(xtc_probability=1, xtc_threshold=0, min_keep=2**31 - 1, top_k=0),
    SamplingParams(repeat_penalty=1e6, frequency_penalty=1e30, presence_penalty=-1e30, top_k=0, typical_p=0.5),
    SamplingParams(dry_multiplier=-1e30, dry_base=1e38, dry_allowed_length=0, dry_sequence_breakers=()),
    SamplingParams(
        dry_multiplier=1e30, dry_penalty_last_n=2**31 - 1, repeat_penalty=1e-6, top_k=0, dry_sequence_breakers=()
    ),
    SamplingParams(samplers=("adaptive_p",), adaptive_target=1e38, adaptive_decay=1e38),
    SamplingParams(samplers=("adaptive_p", "xtc"), adaptive_target=0.5, xtc_probability=1),
    SamplingParams(top_k=2**31 - 1, min_keep=2**31 - 1),
    SamplingParams(logit_bias=tuple((i, -math.inf) for i in range(300))),
    SamplingParams(logit_bias=tuple((i, -math.inf) for i in range(300)), mirostat=2),
    SamplingParams(logit_bias=tuple((i, -3.4e38) for i in range(300)), top_k=0, typical_p=0.5),
)


@pytest.mark.parametrize("params", WILD, ids=range(len(WILD)))
@pytest.mark.parametrize("n_vocab", [2, 300, 32_000])
def test_nothing_that_passes_the_checks_can_abort(
    factories: dict[int, LlamaSamplerFactory], params: SamplingParams, n_vocab: int
) -> None:
    factory = factories[n_vocab]
    params = replace(params, logit_bias=params.logit_bias[:n_vocab])
    prompt = np.array([0, 1, 0, 1, 0], np.int32)
    rows = logits_of(n_vocab, 4, 1)
    rows[1] = 0
    rows[2, 1:] = -math.inf
    rows[3] *= 1e30
    for token in sampled(factory, replace(params, n_post_probs=3), prompt, rows):
        assert NO_TOKEN <= token < n_vocab


# --- a real vocabulary


@pytest.fixture(scope="module")
def real(llama_gguf: Path) -> Iterator[tuple[LlamaModel, LlamaSamplerFactory]]:
    model = LlamaModel(llama_gguf)
    made = LlamaSamplerFactory(model.vocab, n_workers=2)
    yield model, made
    made.close()
    model.close()


@pytest.mark.parametrize("breakers", [("\n", ":", '"', "*"), ("e",), ("the",), ("", "\0", "x\0y"), ("a" * 100,)])
def test_dry_stops_at_the_breakers_that_the_whole_chain_stops_at(
    real: tuple[LlamaModel, LlamaSamplerFactory], breakers: tuple[str, ...]
) -> None:
    model, factory = real
    words = b" The cat sat on the mat: the cat sat on the"
    prompt = model.vocab.tokenize(words, add_special=True, parse_special=False)
    params = SamplingParams(seed=3, dry_multiplier=3, dry_allowed_length=1, dry_sequence_breakers=breakers)
    logits = logits_of(factory.n_vocab, 30, 4)
    logits[:, prompt] += 12
    with FullChain(params, frozenset(), factory.n_vocab, prompt, model.vocab.handle) as chain:
        assert sampled(factory, params, prompt, logits) == [chain.sample(row) for row in logits]
    assert sampled(factory, params, prompt, logits) == sampled(factory, params, prompt, logits), "a kept stage is clean"


def test_more_kinds_of_dry_than_are_kept(real: tuple[LlamaModel, LlamaSamplerFactory]) -> None:
    _, factory = real
    logits = logits_of(factory.n_vocab, 2, 4)
    first = SamplingParams(seed=3, dry_multiplier=0.5)
    expected = sampled(factory, first, NO_PROMPT, logits)
    for i in range(MAX_KEPT + 5):
        sampled(factory, replace(first, dry_multiplier=1 + i / 8), NO_PROMPT, logits)
    assert sampled(factory, first, NO_PROMPT, logits) == expected


def test_what_dry_searches_for_is_found_before_the_request_is_launched(
    real: tuple[LlamaModel, LlamaSamplerFactory],
) -> None:
    """The engine thread stood still for 10 ms a breaker."""
    _, factory = real
    stages = factory._dry
    params = SamplingParams(dry_multiplier=0.77, dry_penalty_last_n=2**31 - 1)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(factory.prepare, [params] * 4))
    (made,) = (kept for key, kept in stages._kept.items() if key[0] == 0.77)
    factory.open(params, NO_PROMPT).close()
    assert [kept for key, kept in stages._kept.items() if key[0] == 0.77] == [made]


def test_wrong_parameters_are_refused_before_anything_is_searched(
    real: tuple[LlamaModel, LlamaSamplerFactory],
) -> None:
    with pytest.raises(InvalidRequest, match="dry_penalty_last_n must be between"):
        real[1].prepare(SamplingParams(dry_multiplier=0.5, dry_penalty_last_n=-(2**40)))


def test_a_request_that_is_prepared_while_the_server_stops(llama: LlamaModel) -> None:
    made = LlamaSamplerFactory(llama.vocab, n_workers=1)
    made.close()
    made.prepare(SamplingParams(dry_multiplier=0.5))


def test_infill_samples_as_the_whole_chain(real: tuple[LlamaModel, LlamaSamplerFactory]) -> None:
    model, factory = real
    params = SamplingParams(seed=3, samplers=("top_k", "infill"))
    logits = logits_of(factory.n_vocab, 30, 4)
    with FullChain(params, frozenset(), factory.n_vocab, NO_PROMPT, model.vocab.handle) as chain:
        assert sampled(factory, params, NO_PROMPT, logits) == [chain.sample(row) for row in logits]


def test_infill_needs_an_end_of_sequence_token(large: LlamaSamplerFactory) -> None:
    with pytest.raises(InvalidRequest, match="needs an end-of-sequence token"):
        large.open(SamplingParams(samplers=("top_k", "infill")), NO_PROMPT)
