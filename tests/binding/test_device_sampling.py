"""Sampling within libllama's graph, here on the CPU: the same tokens as on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.model import LlamaModel
from llamahttp.binding.sampler import LlamaSampler
from llamahttp.binding.sampler_factory import LlamaSamplerFactory
from llamahttp.task import SamplingParams

from .steps import SEPARATE, MakeDecoder, fill, text

N = 40
PROMPT = text(30, seed=3)

PARAMS: list[dict[str, Any]] = [
    {"temperature": 0},
    {},
    {"top_k": 0},
    {"top_k": 0, "top_p": 1, "min_p": 0},
    {"top_k": 1100},
    {"top_k": 1},
    {"top_p": 0.1},
    {"min_p": 0.5},
    {"temperature": 3.0, "top_k": 0, "top_p": 0.9, "min_p": 0},
    {"repeat_penalty": 1.3},
    {"repeat_penalty": 1.3, "repeat_last_n": 2000},
    {"temperature": 0, "repeat_penalty": 1.4},
    {"presence_penalty": 0.5, "frequency_penalty": 0.3},
    {"logit_bias": ((700, 3.0), (701, -math.inf))},
    {"ignore_eos": True},
    {"samplers": ("temperature", "min_p")},
]

HOST_ONLY: list[dict[str, Any]] = [
    {"dynatemp_range": 0.5},
    {"typical_p": 0.5},
    {"dry_multiplier": 0.8},
    {"xtc_probability": 0.5},
    {"top_n_sigma": 1.0},
    {"mirostat": 2},
    {"samplers": ("adaptive_p",), "adaptive_target": 0.5},
    {"top_k": 5000},
    {"top_p": 1.0},
    {"samplers": ("top_p", "top_k")},
    {"samplers": ("top_p", "temperature", "top_p")},
    {"min_keep": 3},
    {"logit_bias": ((700, 4.0), (700, 4.0))},
    {"n_post_probs": 3},
    {"backend_sampling": False},
]


@pytest.fixture(scope="module")
def factory(llama: LlamaModel) -> Iterator[LlamaSamplerFactory]:
    made = LlamaSamplerFactory(llama.vocab, uses_device=True)
    yield made
    made.close()


class Run:
    """One request: a sampler over a sequence of its own."""

    def __init__(self, factory: LlamaSamplerFactory, id_seq: int, **params: Any) -> None:
        params = {"seed": 1 + id_seq, "backend_sampling": True} | params
        self.sampler: LlamaSampler = factory.open(SamplingParams(**params), PROMPT)
        self.id_seq, self.tokens, self.n_past = id_seq, PROMPT, 0
        self.found: list[int] = []

    def take(self, token: int) -> None:
        self.n_past += len(self.tokens)
        self.tokens = np.array([token], np.int32)
        self.found.append(token)


def step(decoder: LlamaDecoder, factory: LlamaSamplerFactory, runs: list[Run], on_device: bool) -> list[int | None]:
    """The tokens that the device gave."""
    chains = {run.id_seq: run.sampler.for_device for run in runs if on_device and run.sampler.for_device is not None}
    decoder.set_samplers(chains)
    row = 0
    for run in runs:
        row = fill(decoder, row, run.tokens, run.n_past, run.id_seq, output=True)
    decoder.decode(row)
    given = decoder.sampled([run.id_seq for run in runs])
    tokens = factory.sample([run.sampler for run in runs], decoder.logits(len(runs)), given)
    for run, token in zip(runs, tokens, strict=True):
        run.take(token)
    return given


def generate(decoder: LlamaDecoder, factory: LlamaSamplerFactory, run: Run, on_device: list[bool]) -> list[int]:
    decoder.remove(run.id_seq, 0)
    for each in on_device:
        given = step(decoder, factory, [run], each)
        assert (given[0] is not None) == each
    run.sampler.close()
    decoder.set_samplers({})
    return run.found


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_the_device_gives_the_hosts_tokens(
    llama: LlamaModel, make_decoder: MakeDecoder, factory: LlamaSamplerFactory, params: dict[str, Any]
) -> None:
    decoder = make_decoder(llama)
    assert Run(factory, 0, **params).sampler.for_device is not None
    ours = generate(decoder, factory, Run(factory, 0, **params), [True] * N)
    assert ours == generate(decoder, factory, Run(factory, 0, **params), [False] * N)
    # as after a request was preempted, and after the context was made anew: the copy is another one
    assert ours == generate(decoder, factory, Run(factory, 0, **params), [i % 5 < 3 for i in range(N)])


@pytest.mark.parametrize("params", HOST_ONLY, ids=str)
def test_what_stays_on_the_host(factory: LlamaSamplerFactory, params: dict[str, Any]) -> None:
    """libllama's device does not know it, gives other tokens, or aborts."""
    assert Run(factory, 0, **params).sampler.for_device is None


@pytest.mark.parametrize("kv_unified", [True, False])
def test_slots_of_both_kinds_share_a_step(
    llama: LlamaModel, make_decoder: MakeDecoder, factory: LlamaSamplerFactory, kv_unified: bool
) -> None:
    decoder = make_decoder(llama, replace(SEPARATE, kv_unified=kv_unified))
    kinds: list[dict[str, Any]] = [{}, {"typical_p": 0.5}, {"repeat_penalty": 1.3}, {"mirostat": 2}]
    found = []
    for on_device in (True, False):
        runs = [Run(factory, id_seq, **params) for id_seq, params in enumerate(kinds)]
        for run in runs:
            decoder.remove(run.id_seq, 0)
        for i in range(N):
            left = runs if i < N // 2 else runs[2:]  # the others have ended
            given = step(decoder, factory, left, on_device)
            assert [token is not None for token in given] == [
                on_device and run.sampler.for_device is not None for run in left
            ]
        found.append([run.found for run in runs])
        for run in runs:
            run.sampler.close()
    assert found[0] == found[1]


def test_what_is_attached_survives_its_request_and_ends_with_the_context(
    llama: LlamaModel, make_decoder: MakeDecoder, factory: LlamaSamplerFactory
) -> None:
    """Between a request's end and the next step the decoder may compute on its own, over what is still attached."""
    decoder = make_decoder(llama)
    run = Run(factory, 0)
    step(decoder, factory, [run], on_device=True)
    run.sampler.close()
    decoder.decode(fill(decoder, 0, PROMPT, 0, 1, output=False))
    decoder.rebuild()
    assert generate(decoder, factory, Run(factory, 0), [True] * 5) == generate(
        decoder, factory, Run(factory, 0), [False] * 5
    )


def test_stages_that_a_device_does_not_know_are_applied_to_what_it_has_left(
    llama: LlamaModel, make_decoder: MakeDecoder, factory: LlamaSamplerFactory
) -> None:
    """No chain with such stages is for the device; but which those are, only the device can tell."""
    decoder = make_decoder(llama)
    prepared = factory.open(SamplingParams(seed=7, typical_p=0.5), PROMPT)
    chain: Any = prepared._chain
    decoder.set_samplers({0: chain})
    decoder.decode(fill(decoder, 0, PROMPT, 0, 0, output=True))
    [given] = decoder.sampled([0])
    decoder.set_samplers({})
    decoder.remove(0, 0)
    decoder.decode(fill(decoder, 0, PROMPT, 0, 0, output=True))
    assert [given] == factory.sample([prepared], decoder.logits(1))
