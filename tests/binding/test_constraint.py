"""Constraints: what is rejected is sampled again among what is allowed, and what is forced is not sampled at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llamahttp.binding.sampler import LlamaSampler
from llamahttp.binding.sampler_factory import LONG_CHOICE_S, LlamaSamplerFactory
from llamahttp.candidates import NO_TOKEN
from llamahttp.sampling import Tier
from llamahttp.task import SamplingParams

from .chain import FullChain

N_VOCAB = 4000
EOG = frozenset({1, 2000})
NO_PROMPT = np.zeros(0, np.int32)
GREEDY = SamplingParams(temperature=0)
DEFAULT = SamplingParams(seed=7)
NUCLEUS = SamplingParams(seed=7, top_k=0)
DRAW = SamplingParams(seed=7, samplers=("penalties", "temperature"))
FLOOR = SamplingParams(seed=7, samplers=("penalties", "min_p", "temperature"))
FULL = SamplingParams(seed=7, top_k=0, typical_p=0.9)
TIERS = pytest.mark.parametrize(
    "params", [GREEDY, DEFAULT, NUCLEUS, DRAW, FULL], ids=["greedy", "candidates", "nucleus", "draw", "full"]
)


class SomeVocab:
    handle = None
    n_tokens = N_VOCAB
    eog = EOG
    suppressed = ()


class FakeConstraint:
    """Allows some tokens, after those that it forces have come."""

    def __init__(self, allowed: NDArray[np.bool_], forced: tuple[int, ...] = (), *, mask_seconds: float = 0.0) -> None:
        self.allowed = allowed
        self.mask_seconds = mask_seconds
        self.forced_tokens = list(forced)
        self.accepted: list[int] = []
        self.mask_threads: list[str] = []

    def forced(self) -> int | None:
        return self.forced_tokens[0] if self.forced_tokens else None

    def allows(self, token: int) -> bool:
        return bool(self.allowed[token])

    def mask(self) -> NDArray[np.bool_]:
        self.mask_threads.append(threading.current_thread().name)
        time.sleep(self.mask_seconds)
        return self.allowed

    def accept(self, token: int) -> None:
        if self.forced_tokens:
            assert self.forced_tokens.pop(0) == token
        self.accepted.append(token)

    def end_reasoning(self) -> bool:
        return False

    def fault(self) -> None:
        return None


@pytest.fixture(scope="module")
def factory() -> Iterator[LlamaSamplerFactory]:
    made = LlamaSamplerFactory(SomeVocab, n_workers=2)  # type: ignore[arg-type]
    yield made
    made.close()


def only(*tokens: int) -> NDArray[np.bool_]:
    allowed = np.zeros(N_VOCAB, np.bool_)
    allowed[list(tokens)] = True
    return allowed


def logits_of(n_rows: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, (n_rows, N_VOCAB)).astype(np.float32)


def answer(
    factory: LlamaSamplerFactory, params: SamplingParams, constraint: FakeConstraint | None, logits: NDArray[np.float32]
) -> list[int]:
    sampler = factory.open(params, NO_PROMPT, constraint)
    try:
        return [factory.sample([sampler], row[np.newaxis])[0] for row in logits]
    finally:
        sampler.close()


@TIERS
def test_a_constraint_that_allows_what_is_sampled_changes_nothing_and_makes_no_mask(
    factory: LlamaSamplerFactory, params: SamplingParams
) -> None:
    logits = logits_of(10)
    constraint = FakeConstraint(np.ones(N_VOCAB, np.bool_))
    tokens = answer(factory, params, constraint, logits)
    assert tokens == answer(factory, params, None, logits)
    assert constraint.accepted == tokens
    assert not constraint.mask_threads


@TIERS
def test_a_rejected_token_is_replaced_by_what_the_whole_chain_takes_among_the_allowed(
    factory: LlamaSamplerFactory, params: SamplingParams
) -> None:
    logits = logits_of(10)
    constraint = FakeConstraint(only(*range(3, N_VOCAB, 7)))
    tokens = answer(factory, params, constraint, logits)
    with FullChain(params, EOG, N_VOCAB, NO_PROMPT) as chain:
        assert tokens == [chain.sample_allowed(row, constraint.allowed) for row in logits]
    assert constraint.accepted == tokens


@pytest.mark.parametrize("fields", [{}, {"repeat_penalty": 1.3, "logit_bias": ((30, 6.0), (31, -np.inf))}], ids=str)
@pytest.mark.parametrize("params", [GREEDY, DEFAULT, NUCLEUS, DRAW, FLOOR], ids=["greedy", "k", "p", "t", "m"])
def test_so_it_is_where_hardly_anything_is_forbidden(
    factory: LlamaSamplerFactory, params: SamplingParams, fields: dict[str, Any]
) -> None:
    params = replace(params, **fields)
    prompt = np.arange(20, 60, dtype=np.int32)
    logits = logits_of(30)
    constraint = FakeConstraint(np.random.default_rng(1).random(N_VOCAB) < 0.7)
    constraint.allowed[logits[::2].argmax(axis=1)] = False
    sampler = factory.open(params, prompt, constraint)
    tokens = [factory.sample([sampler], row[np.newaxis])[0] for row in logits]
    sampler.close()
    with FullChain(params, EOG, N_VOCAB, prompt) as chain:
        assert tokens == [chain.sample_allowed(row, constraint.allowed) for row in logits]


def test_after_a_rejection_the_next_mask_is_computed_before_it_is_asked_for() -> None:
    factory = LlamaSamplerFactory(SomeVocab, n_workers=2, looks_ahead=True)  # type: ignore[arg-type]
    logits = logits_of(4)
    constraint = FakeConstraint(only(5))
    sampler = factory.open(DEFAULT, NO_PROMPT, constraint)
    for n_masks, row in ((2, logits[:1]), (3, logits[1:2])):
        assert factory.sample([sampler], row) == [5]
        wait_until(lambda: len(constraint.mask_threads) == n_masks)  # noqa: B023
    logits[2:, 5] = 100
    assert factory.sample([sampler], logits[2:3]) == [5]
    assert factory.sample([sampler], logits[3:]) == [5]
    assert len(constraint.mask_threads) == 3, "nothing was rejected any more"
    sampler.close()
    factory.close()


def wait_until(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.001)


@TIERS
def test_masks_that_take_long_are_computed_on_the_pool(factory: LlamaSamplerFactory, params: SamplingParams) -> None:
    """All but the first, which tells that they do."""
    constraints = [FakeConstraint(only(5), mask_seconds=2 * LONG_CHOICE_S) for _ in range(4)]
    samplers = [factory.open(params, NO_PROMPT, constraint) for constraint in constraints]
    assert factory.sample(samplers, logits_of(4)) == [5] * 4
    first, *others = [constraint.mask_threads for constraint in constraints]
    assert first == [threading.current_thread().name]
    assert all(name.startswith("sampling") for names in others for name in names)
    for sampler in samplers:
        sampler.close()


@TIERS
def test_forced_tokens_come_first_and_are_remembered(factory: LlamaSamplerFactory, params: SamplingParams) -> None:
    constraint = FakeConstraint(np.ones(N_VOCAB, np.bool_), forced=(17, 18))
    strict = replace(params, presence_penalty=100.0)
    logits = np.zeros((4, N_VOCAB), np.float32)
    logits[:, 17:21] = 90
    tokens = answer(factory, strict, constraint, logits)
    assert tokens[:2] == [17, 18]
    assert set(tokens[2:]) == {19, 20}, "the forced tokens are penalised"
    assert constraint.accepted == tokens


def test_a_seed_gives_the_same_tokens_after_a_forced_one(factory: LlamaSamplerFactory) -> None:
    logits = logits_of(20)
    constraint = FakeConstraint(np.ones(N_VOCAB, np.bool_), forced=(17, 18))
    assert answer(factory, DEFAULT, constraint, logits)[2:] == answer(factory, DEFAULT, None, logits)[2:]


@TIERS
def test_a_constraint_wins_over_a_ban(factory: LlamaSamplerFactory, params: SamplingParams) -> None:
    constraint = FakeConstraint(only(1))
    assert answer(factory, replace(params, ignore_eos=True), constraint, logits_of(1)) == [1]


@TIERS
def test_a_constraint_that_allows_nothing_fails_its_own_request_only(
    factory: LlamaSamplerFactory, params: SamplingParams
) -> None:
    logits = logits_of(2)
    stuck, free = FakeConstraint(only()), FakeConstraint(only(3))
    samplers = [factory.open(params, NO_PROMPT, constraint) for constraint in (stuck, free)]
    assert factory.sample(samplers, logits) == [NO_TOKEN, 3]
    assert not stuck.accepted
    for sampler in samplers:
        sampler.close()


def test_slots_with_and_without_constraints_are_sampled_together(factory: LlamaSamplerFactory) -> None:
    logits = logits_of(6)
    params = [GREEDY, DEFAULT, FULL] * 2
    constraints = [FakeConstraint(only(5)), FakeConstraint(only(6)), FakeConstraint(only(7)), None, None, None]
    samplers: list[LlamaSampler] = [
        factory.open(each, NO_PROMPT, constraint) for each, constraint in zip(params, constraints, strict=True)
    ]
    assert {sampler.tier for sampler in samplers} == {Tier.GREEDY, Tier.CANDIDATES, Tier.FULL}
    tokens = factory.sample(samplers, logits)
    assert tokens[:3] == [5, 6, 7]
    free = [answer(factory, each, None, row[np.newaxis])[0] for each, row in zip(params[3:], logits[3:], strict=True)]
    assert tokens[3:] == free
    for sampler in samplers:
        sampler.close()
