"""The engine as a program of one's own uses it: sizes, text in and out, the real model behind it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path

import pytest
from fakes import FakeDecoder, continuation, fake_engine

from llamahttp import Engine, EngineConfig, SamplingParams
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.model import LlamaModel
from llamahttp.config import N_SLOTS_MAX
from llamahttp.errors import InvalidRequest, ModelError, StartupError, Unavailable
from llamahttp.loading import decide_sizes

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


@pytest.mark.parametrize("n_parallel", [0, N_SLOTS_MAX + 1])
def test_a_number_of_slots_that_libllama_cannot_tell_apart_is_refused(n_parallel: int) -> None:
    with pytest.raises(StartupError, match=f"n_parallel must be between 1 and 256, but got {n_parallel}"):
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


# --- opening that does not come to its end


def open_handles() -> set[int]:
    """Models and contexts in this process that nobody has closed."""
    each = [thing for thing in gc.get_objects() if isinstance(thing, LlamaModel | LlamaDecoder)]
    return {id(thing) for thing in each if is_open(thing)}


def is_open(thing: LlamaModel | LlamaDecoder) -> bool:
    try:
        return bool(thing.handle)
    except (AssertionError, Unavailable):
        return False


async def assert_closed_since(before: set[int]) -> None:
    """Nothing is open, and no thread opens anything, that was not open before."""
    deadline = time.monotonic() + 10
    while open_handles() - before and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not open_handles() - before
    assert "engine" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("at_end", [False, True])
async def test_a_load_that_nobody_waits_for_ends_and_leaves_nothing_open(llama_gguf: Path, at_end: bool) -> None:
    loop, reached, going_on, told = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), list[float]()

    def on_progress(done: float) -> None:
        told.append(done)
        if done == 1 or not at_end:
            loop.call_soon_threadsafe(reached.set)
            going_on.wait(10)

    before = open_handles()
    opening = asyncio.create_task(Engine.open(EngineConfig(llama_gguf, n_ctx=512), on_progress))
    await reached.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    going_on.set()
    await asyncio.sleep(0.2)
    await assert_closed_since(before)
    assert len(told) == 1 or at_end, "loading goes on although it was given up"


async def test_opening_can_be_cancelled_at_any_moment(llama_gguf: Path) -> None:
    config = EngineConfig(llama_gguf, n_ctx=512)
    before = open_handles()
    began = time.monotonic()
    await (await Engine.open(config)).close()
    seconds = time.monotonic() - began
    for i in range(30):
        opening = asyncio.create_task(Engine.open(config))
        await asyncio.sleep(seconds * i / 25)
        opening.cancel()
        try:
            await (await opening).close()
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(0.1 + seconds)
    await assert_closed_since(before)


async def test_cancelled_while_it_warms_up_the_engine_is_closed() -> None:
    decoder = FakeDecoder()
    decoder.gate.clear()
    engine = fake_engine(decoder, warmup=True)
    warming = asyncio.create_task(engine.wait_until_warm())
    await asyncio.sleep(0.05)
    warming.cancel()
    await asyncio.sleep(0.05)
    assert not decoder.closed, "the engine thread is using it"
    decoder.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await warming
    assert decoder.closed
    with pytest.raises(Unavailable):
        await engine.snapshot()


async def test_a_disk_tier_that_cannot_be_used_leaves_no_model_open(llama_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = open_handles()
    with pytest.raises(StartupError):
        await Engine.open(EngineConfig(llama_gguf, n_ctx=512, cache_disk=tmp_path / "file"))
    await assert_closed_since(before)
