"""The engine as a program of one's own uses it: sizes, text in and out, the real model behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fakes import FakeDecoder, continuation, fake_engine

from llamahttp import Engine, EngineConfig, SamplingParams
from llamahttp.engine import MAX_SLOTS, decide_sizes
from llamahttp.errors import InvalidRequest, ModelError

GREEDY = SamplingParams(temperature=0)


# --- sizes, decided as llama-server decides them


def test_automatic_slots_are_four_over_one_pool() -> None:
    n_slots, sizes = decide_sizes(EngineConfig(), n_ctx_train=4096)
    assert (n_slots, sizes.n_seq_max, sizes.kv_unified, sizes.n_ctx) == (4, 4, True, 4096)


def test_a_number_of_slots_divides_the_context() -> None:
    n_slots, sizes = decide_sizes(EngineConfig(n_parallel=8, n_ctx=16384), n_ctx_train=4096)
    assert (n_slots, sizes.kv_unified, sizes.n_ctx) == (8, False, 16384)


def test_one_pool_can_be_asked_for() -> None:
    assert decide_sizes(EngineConfig(n_parallel=8, kv_unified=True), 4096)[1].kv_unified


def test_the_context_is_a_multiple_of_256_and_bounds_the_batch() -> None:
    _, sizes = decide_sizes(EngineConfig(n_ctx=300, n_batch=2048, n_ubatch=1024), 4096)
    assert (sizes.n_ctx, sizes.n_batch, sizes.n_ubatch) == (512, 512, 512)


def test_threads_for_prompts_follow_those_for_generating() -> None:
    _, sizes = decide_sizes(EngineConfig(n_threads=3), 4096)
    assert (sizes.n_threads, sizes.n_threads_batch) == (3, 3)
    _, sizes = decide_sizes(EngineConfig(n_threads=3, n_threads_batch=5), 4096)
    assert (sizes.n_threads, sizes.n_threads_batch) == (3, 5)


@pytest.mark.parametrize("n_parallel", [0, MAX_SLOTS + 1])
def test_a_number_of_slots_that_libllama_cannot_tell_apart_is_refused(n_parallel: int) -> None:
    with pytest.raises(InvalidRequest, match=f"--parallel must be between 1 and 256, but got {n_parallel}"):
        decide_sizes(EngineConfig(n_parallel=n_parallel), 4096)


# --- text


async def test_generate_gives_the_text_as_it_comes() -> None:
    async with fake_engine() as engine:
        pieces = [piece async for piece in engine.generate("hello", n_predict=5)]
    assert [ord(piece) for piece in pieces] == continuation(list(b"hello"), 5)


async def test_generate_ends_before_a_stop_string_and_frees_the_slot() -> None:
    whole = bytes(continuation(list(b"hello"), 40)).decode()
    async with fake_engine() as engine:
        text = "".join([piece async for piece in engine.generate("hello", stop=[whole[20:24]])])
        assert (await engine.snapshot()).n_waiting == 0
    assert text == whole[: whole.index(whole[20:24])]


async def test_long_texts_do_not_hold_up_the_loop() -> None:
    async with fake_engine() as engine:
        assert len(await engine.tokenize("x" * 100_000)) == 100_000


async def test_tokens_that_do_not_exist_have_no_text() -> None:
    async with fake_engine() as engine:
        with pytest.raises(InvalidRequest, match="token 999 is not in the vocabulary of 257 tokens"):
            engine.detokenize([65, 999])


async def test_closing_twice_is_closing_once() -> None:
    decoder = FakeDecoder()
    engine = fake_engine(decoder)
    await engine.close()
    await engine.close()
    assert decoder.closed


# --- a real model


async def test_a_model_is_opened_with_progress_and_continues_a_text(llama_gguf: Path) -> None:
    progress: list[float] = []
    async with await Engine.open(EngineConfig(llama_gguf, n_ctx=512), progress.append) as engine:
        once = [piece async for piece in engine.generate("Once", sampling=GREEDY, n_predict=8)]
        twice = await asyncio.gather(*(_text(engine, "Once") for _ in range(4)))
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert twice == ["".join(once)] * 4


async def _text(engine: Engine, prompt: str) -> str:
    return "".join([piece async for piece in engine.generate(prompt, sampling=GREEDY, n_predict=8)])


async def test_a_context_that_no_machine_holds_is_one_clear_error(llama_gguf: Path) -> None:
    with pytest.raises(ModelError, match=r"needs .* GiB for its KV cache, but only .* are available"):
        await Engine.open(EngineConfig(llama_gguf, n_ctx=2_000_000_000))
