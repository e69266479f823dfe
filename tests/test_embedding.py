"""Embeddings beside chats: fairness, long inputs, failures, cancelling, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from fake_embedder import FakeEmbedder
from fakes import EOS, FakeDecoder, fake_engine
from numpy.typing import NDArray

from llamahttp.abc import BatchError, InputPart
from llamahttp.config import Pooling
from llamahttp.engine import Engine
from llamahttp.errors import ContextExceeded, EngineError, InvalidRequest, NotSupported, QueueFull, Unavailable
from llamahttp.task import CompletionTask, EmbeddingTask, Tokens


class LoggedDecoder(FakeDecoder):
    """Writes each of its steps into a list that it shares."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def decode(self, n_rows: int) -> None:
        self.log.append("chat")
        super().decode(n_rows)


def tokens(n: int, first: int = 97) -> NDArray[np.int32]:
    return np.arange(first, first + n, dtype=np.int32) % 250


def mean_of(ids: NDArray[np.int32]) -> list[float]:
    return [float(np.mean(ids)), (len(ids) - 1) / 2, 1.0]


async def embed(engine: Engine, *inputs: NDArray[np.int32]) -> list[list[float]]:
    vectors = await engine.embed([each.tolist() for each in inputs], norm=-1)
    return [vector.tolist() for vector in vectors]


@pytest.fixture
async def engines() -> AsyncIterator[Any]:
    """Makes engines over a fake embedder; they are closed in the end."""
    opened: list[Engine] = []

    def make(embedder: FakeEmbedder, decoder: FakeDecoder | None = None, **config: Any) -> Engine:
        opened.append(fake_engine(decoder, embedder=embedder, **config))
        return opened[-1]

    yield make
    for engine in opened:
        await engine.close()


KINDS = {"parts": {"takes_parts": True}, "whole": {"takes_parts": False}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200, 256])
async def test_inputs_of_every_length(engines: Any, kind: str, n: int) -> None:
    engine = engines(FakeEmbedder(**KINDS[kind]))
    inputs = [tokens(n), tokens(3), tokens(n, first=7)]
    for found, each in zip(await embed(engine, *inputs), inputs, strict=True):
        np.testing.assert_allclose(found, mean_of(each), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_pooling_there_is_a_vector_a_token(engines: Any, kind: str) -> None:
    engine = engines(FakeEmbedder(Pooling.NONE, **KINDS[kind]))
    [vectors] = await engine.embed([tokens(100).tolist()])
    np.testing.assert_array_equal(vectors, np.stack([tokens(100), np.arange(100), np.ones(100)], axis=1))


async def test_many_inputs_share_a_batch(engines: Any) -> None:
    embedder = FakeEmbedder(n_batch=64, n_seq_max=9)
    engine = engines(embedder)
    inputs = [tokens(2 + i % 3, first=i) for i in range(200)]
    found = await embed(engine, *inputs)
    for vector, each in zip(found, inputs, strict=True):
        np.testing.assert_allclose(vector, mean_of(each), rtol=1e-5)
    assert len(embedder.batches) == 25  # of 8 inputs, as many as there are sequences beside that of long ones
    assert all(sum(batch) <= 64 for batch in embedder.batches)


async def test_a_small_request_does_not_wait_for_a_large_one(engines: Any) -> None:
    embedder = FakeEmbedder()
    engine = engines(embedder)
    large = asyncio.create_task(embed(engine, *[tokens(40)] * 2000))
    while len(embedder.batches) < 20:
        await asyncio.sleep(0)
    before = len(embedder.batches)
    await embed(engine, tokens(9))
    small = next(i for i, batch in enumerate(embedder.batches) if 9 in batch)
    assert small <= before + 20, "it waited behind the large one"
    assert not large.done()
    assert len(await large) == 2000


async def test_a_small_request_does_not_wait_for_a_long_input(engines: Any) -> None:
    embedder = FakeEmbedder(n_ctx=100_000)
    engine = engines(embedder)
    long = asyncio.create_task(embed(engine, tokens(100_000)))
    while len(embedder.batches) < 20:
        await asyncio.sleep(0)
    await embed(engine, tokens(9))
    assert not long.done()
    await long


async def test_embeddings_and_chats_take_turns(engines: Any) -> None:
    log: list[str] = []
    decoder = LoggedDecoder(log)
    decoder.step_seconds = 0.001
    engine = engines(FakeEmbedder(log=log), decoder)
    async with engine.submit(CompletionTask(tokens(5), n_predict=500)) as stream:
        async for result in stream:
            if isinstance(result, Tokens):
                break
        await embed(engine, *[tokens(20)] * 200)
    first, last = log.index("embed"), len(log) - log[::-1].index("embed")
    assert "embed" in log[: first + 2]
    assert "embed,embed" not in ",".join(log[first:last]), "a chat waited for two batches"
    assert "chat,chat" not in ",".join(log[first:last]), "embeddings waited for two steps"


async def test_tokens_do_not_wait_for_a_batch_of_embeddings(engines: Any) -> None:
    """Those of quick steps are held back for each other, but a batch may take as long as twenty of them."""
    received: list[int] = []
    decoder = FakeDecoder()
    waiting: list[int] = []  # at the end of each batch of embeddings: tokens that were there before and not received

    class Embedder(FakeEmbedder):
        def decode(self, parts: Sequence[InputPart]) -> list[NDArray[np.float32]]:
            vectors = super().decode(parts)
            waiting.append(len(decoder.batches) - len(received))
            return vectors

    embedder = Embedder()
    embedder.step_seconds = 0.02
    engine = engines(embedder, decoder)
    async with engine.submit(CompletionTask(tokens(5), n_predict=-1)) as stream:
        embedding = asyncio.create_task(embed(engine, *[tokens(60)] * 40))
        async for result in stream:
            received += result.ids if isinstance(result, Tokens) else ()
            if embedding.done():
                break
        await embedding
    assert len(waiting) > 20
    assert sorted(waiting)[len(waiting) // 2] == 0


async def test_an_embedding_among_chats_is_served_within_two_steps(engines: Any) -> None:
    log: list[str] = []
    decoder = LoggedDecoder(log)
    decoder.step_seconds = 0.002
    engine = engines(FakeEmbedder(log=log), decoder)
    streams = [engine.submit(CompletionTask(tokens(5, first=i), n_predict=2000)) for i in range(4)]
    async for _ in streams[0]:
        break
    for _ in range(5):
        before = log.count("chat")
        await embed(engine, tokens(20))
        n_steps = log[: len(log) - log[::-1].index("embed")].count("chat") - before
        assert n_steps <= 2
    for stream in streams:
        stream.close()


async def test_a_failed_batch_costs_only_who_is_to_blame(engines: Any) -> None:
    embedder = FakeEmbedder()
    embedder.poison = 5
    engine = engines(embedder)
    good = [asyncio.create_task(embed(engine, tokens(4), tokens(150))) for _ in range(3)]
    bad = asyncio.create_task(embed(engine, tokens(4), np.array([1, 5], np.int32)))
    with pytest.raises(EngineError, match="Compute error"):
        await bad
    for each in good:
        np.testing.assert_allclose((await each)[1], mean_of(tokens(150)), rtol=1e-5)
    assert embedder.n_rebuilt >= 1
    assert await embed(engine, tokens(1))


async def test_a_failure_in_the_middle_of_a_long_input_begins_it_again(engines: Any) -> None:
    embedder = FakeEmbedder()
    engine = engines(embedder)
    long = asyncio.create_task(embed(engine, tokens(250), tokens(3)))
    embedder.errors.append(BatchError("Compute error."))
    np.testing.assert_allclose((await long)[0], mean_of(tokens(250)), rtol=1e-5)


async def test_vectors_that_are_not_numbers_are_an_error(engines: Any) -> None:
    embedder = FakeEmbedder()
    embedder.not_numbers = 5
    engine = engines(embedder)
    with pytest.raises(EngineError, match="embedding of input 1 is not numbers"):
        await embed(engine, tokens(4), np.array([5], np.int32))
    assert await embed(engine, tokens(1))


async def test_an_input_for_which_there_is_no_memory_is_an_error(engines: Any) -> None:
    embedder = FakeEmbedder()
    embedder.refuses_over = 100
    engine = engines(embedder)
    with pytest.raises(EngineError, match="no memory for 101 tokens"):
        await embed(engine, tokens(3), tokens(101))
    assert await embed(engine, tokens(100))


async def test_who_leaves_costs_nothing_more(engines: Any) -> None:
    embedder = FakeEmbedder(n_ctx=10_000)
    engine = engines(embedder)
    async with engine.submit_embedding(EmbeddingTask((tokens(10_000), *[tokens(30)] * 100))) as stream:
        async for _ in stream:
            break
    await embed(engine, tokens(1))
    n_batches = len(embedder.batches)
    await asyncio.sleep(0.01)
    assert len(embedder.batches) == n_batches < 60
    assert not embedder.n_past, "a sequence was not emptied"


async def test_stopping_ends_what_waits() -> None:
    engine = fake_engine(embedder=(embedder := FakeEmbedder()))
    waiting = [asyncio.create_task(embed(engine, *[tokens(60)] * 1000)) for _ in range(3)]
    while not embedder.batches:
        await asyncio.sleep(0)
    await engine.close()
    for each in waiting:
        with pytest.raises(Unavailable, match="stopping"):
            await each
    assert embedder.closed
    with pytest.raises(Unavailable):
        await embed(engine, tokens(1))


async def test_a_full_queue_refuses(engines: Any) -> None:
    engine = engines(FakeEmbedder(n_ctx=100_000), queue_size=2)
    streams = [engine.submit_embedding(EmbeddingTask((tokens(100_000),))) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests wait for embeddings"):
        engine.submit_embedding(EmbeddingTask((tokens(1),)))
    for stream in streams:
        stream.close()
    assert await embed(engine, tokens(1))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([], InvalidRequest, "no input"),
        ([tokens(1), tokens(0)], InvalidRequest, "input 1 is empty"),
        ([tokens(1), tokens(257)], ContextExceeded, r"input 1 \(257 tokens\) exceeds .* \(256 tokens\)"),
        ([np.array([3, EOS + 1], np.int32)], InvalidRequest, "input 0: token 1 is 257"),
        ([np.array([-1], np.int32)], InvalidRequest, "input 0: token 0 is -1"),
    ],
)
async def test_bad_inputs_are_named(engines: Any, inputs: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        engines(FakeEmbedder()).submit_embedding(EmbeddingTask(tuple(inputs)))


async def test_what_is_not_there_says_how_to_get_it(engines: Any) -> None:
    ranking, plain = engines(FakeEmbedder(Pooling.RANK)), fake_engine()
    with pytest.raises(NotSupported, match="it reranks"):
        await ranking.embed(["x"])
    assert await ranking.rerank("a", ["b", "c"]) == [pytest.approx(97.5), pytest.approx(98.0)]
    with pytest.raises(NotSupported, match="Start it with `--embeddings`"):
        await plain.embed(["x"])
    with pytest.raises(NotSupported, match="Start it with `--reranking`"):
        await plain.rerank("a", ["b"])
    await plain.close()


async def test_a_model_that_embeds_does_not_rank(engines: Any) -> None:
    with pytest.raises(NotSupported, match="Start it with `--reranking`"):
        await engines(FakeEmbedder()).rerank("a", ["b"])


async def test_the_first_step_warms_up() -> None:
    engine = fake_engine(embedder=(embedder := FakeEmbedder()), warmup=True)
    await engine.snapshot()
    assert embedder.batches == [[1]]
    await engine.close()


async def test_inputs_with_different_adapters_take_turns(engines: Any) -> None:
    """Those of one kind share batches; a long input of one kind holds up another kind for no longer than itself."""
    embedder = FakeEmbedder(n_batch=64)
    decoder = FakeDecoder()
    engine = engines(embedder, decoder, loras=2)

    async def compute(*adapters: tuple[int, float], n_inputs: int, n_tokens: int) -> None:
        async with engine.submit_embedding(EmbeddingTask((tokens(n_tokens),) * n_inputs, adapters)) as stream:
            async for _ in stream:
                pass

    many = [
        asyncio.create_task(compute((0, 1.0), n_inputs=30, n_tokens=200)),
        asyncio.create_task(compute((0, 1.0), n_inputs=2, n_tokens=9)),
        asyncio.create_task(compute((1, 0.5), n_inputs=3, n_tokens=9)),
    ]
    await many[2]
    assert not many[0].done()
    assert embedder.adapters[:2] == [((0, 1.0),), ((1, 0.5),)]
    await asyncio.gather(*many)
    await compute(n_inputs=1, n_tokens=9)
    assert embedder.adapters[-1] == ()
