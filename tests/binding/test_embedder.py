"""The context of embeddings over tiny models of every kind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from llamahttp.abc import BatchError, InputPart
from llamahttp.binding.adapter import LlamaAdapters
from llamahttp.binding.control_vector import read_control_vector
from llamahttp.binding.embedder import EmbedderConfig, LlamaEmbedder
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel
from llamahttp.config import Pooling
from llamahttp.errors import EngineError, ModelError
from tests import models

SIZES = ContextSizes(n_ctx=512, n_seq_max=4, n_batch=128, n_ubatch=64, n_threads=1, n_threads_batch=1, kv_unified=True)
NOISE = 5e-3
"""Attention computes in half precision: how it is summed up depends on what else is in the batch."""

Open = Callable[..., LlamaEmbedder]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    model = LlamaModel(models.write_bert(tmp_path_factory.mktemp("bert") / "bert.gguf"))
    yield model
    model.close()


@pytest.fixture
def open_embedder(request: pytest.FixtureRequest, bert: LlamaModel) -> Iterator[Open]:
    opened: list[LlamaEmbedder] = []

    def open_one(model: str | LlamaModel, pooling: Pooling | None = None, n_ctx: int = 512) -> LlamaEmbedder:
        found = request.getfixturevalue(model) if isinstance(model, str) else model
        opened.append(LlamaEmbedder(found, SIZES, EmbedderConfig(pooling, n_ctx)))
        return opened[-1]

    yield open_one
    for embedder in opened:
        embedder.close()


def tokens(n: int, first: int = 300) -> Any:
    return (np.arange(n, dtype=np.int32) * 7 + first) % 900 + 290


@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba", "lfm2"])
def test_parts_give_what_the_whole_gives(open_embedder: Open, name: str) -> None:
    embedder = open_embedder(name, Pooling.MEAN)
    assert (embedder.takes_parts, embedder.pools, embedder.pooling) == (True, False, Pooling.MEAN)
    [whole] = embedder.decode([InputPart(1, 0, tokens(60))])
    embedder.forget(1)
    parts = []
    for start, stop in ((0, 1), (1, 30), (30, 60)):  # beside another, which comes and goes
        part, _ = embedder.decode([InputPart(0, start, tokens(60)[start:stop]), InputPart(1, 0, tokens(5))])
        parts.append(part)
        embedder.forget(1)
    assert whole.shape == (60, 64)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=NOISE)


@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba", "lfm2", "bert"])
def test_inputs_of_one_batch_know_nothing_of_each_other(open_embedder: Open, name: str) -> None:
    embedder = open_embedder(name, Pooling.MEAN)
    inputs = [tokens(9), tokens(20, 31), tokens(1), tokens(3)]
    together = embedder.decode([InputPart(i, 0, each) for i, each in enumerate(inputs)])
    for i in range(len(inputs)):
        embedder.forget(i)
    for each, found in zip(inputs, together, strict=True):
        [alone] = embedder.decode([InputPart(0, 0, each)])
        embedder.forget(0)
        np.testing.assert_allclose(found, alone, atol=NOISE)


def test_an_encoder_takes_whole_inputs_and_pools_them(open_embedder: Open) -> None:
    embedder = open_embedder("bert")
    assert (embedder.takes_parts, embedder.pools, embedder.pooling) == (False, True, Pooling.MEAN)
    rows = open_embedder("bert", Pooling.NONE)
    assert not rows.pools
    [vector], [each] = (one.decode([InputPart(0, 0, tokens(50))]) for one in (embedder, rows))
    assert (vector.shape, each.shape) == ((1, 64), (50, 64))
    np.testing.assert_allclose(vector[0], each.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_long_inputs_find_room(open_embedder: Open, name: str) -> None:
    embedder = open_embedder(name, Pooling.MEAN, n_ctx=1000)
    embedder.reserve(1000)
    if embedder.takes_parts:
        parts = [InputPart(0, start, tokens(1000)[start : start + 64]) for start in range(0, 1000, 64)]
        rows = np.concatenate([embedder.decode([part])[0] for part in parts])
        assert rows.shape == (1000, 64)
    else:
        [rows] = embedder.decode([InputPart(0, 0, tokens(1000))])
    assert np.isfinite(rows).all()


def test_what_is_kept_is_a_copy(open_embedder: Open) -> None:
    embedder = open_embedder("llama", Pooling.LAST)
    [first] = embedder.decode([InputPart(0, 0, tokens(4))])
    kept = first.copy()
    embedder.decode([InputPart(1, 0, tokens(4, 50))])
    np.testing.assert_array_equal(first, kept)


def test_a_part_that_does_not_continue_is_a_batch_error(open_embedder: Open) -> None:
    embedder = open_embedder("llama", Pooling.MEAN)
    embedder.decode([InputPart(0, 0, tokens(4))])
    with pytest.raises(BatchError):
        embedder.decode([InputPart(0, 9, tokens(4))])
    assert len(embedder.decode([InputPart(0, 0, tokens(4))])) == 1, "the sequence was not emptied"


def test_the_context_can_be_made_anew(open_embedder: Open) -> None:
    embedder = open_embedder("llama", Pooling.MEAN)
    [before] = embedder.decode([InputPart(0, 0, tokens(4))])
    embedder.rebuild()
    [after] = embedder.decode([InputPart(0, 0, tokens(4))])
    np.testing.assert_array_equal(before, after)


def test_closing_twice_is_safe(open_embedder: Open) -> None:
    embedder = open_embedder("bert")
    embedder.close()
    embedder.close()


@pytest.mark.parametrize("pooling", [gguf.PoolingType.CLS, gguf.PoolingType.LAST])
def test_the_models_own_pooling(open_embedder: Open, tmp_path: Path, pooling: gguf.PoolingType) -> None:
    model = LlamaModel(models.write_bert(tmp_path / "bert.gguf", pooling=pooling))
    assert open_embedder(model).pooling is Pooling[pooling.name]
    model.close()


def test_a_classifiers_scores(open_embedder: Open, tmp_path: Path) -> None:
    one = LlamaModel(models.write_reranker(tmp_path / "reranker.gguf"))
    two = LlamaModel(models.write_qwen3_reranker(tmp_path / "qwen3.gguf"))
    encoder, decoder = open_embedder(one), open_embedder(two)
    assert (encoder.pooling, encoder.n_out, encoder.takes_parts) == (Pooling.RANK, 1, False)
    assert (decoder.pooling, decoder.n_out, decoder.takes_parts) == (Pooling.RANK, len(models.LABELS), True)
    [scores] = decoder.decode([InputPart(0, 0, tokens(9))])
    assert scores.sum() == pytest.approx(1, abs=1e-5)
    one.close()
    two.close()


def test_adapters_are_applied_with_their_scales_until_others_are(llama: LlamaModel, tmp_path: Path) -> None:
    adapters = LlamaAdapters(llama, [models.write_lora(tmp_path / "lora.gguf")])
    embedder = LlamaEmbedder(llama, SIZES, EmbedderConfig(Pooling.MEAN, 512), adapters)

    def vectors() -> Any:
        embedder.forget(0)
        return embedder.decode([InputPart(0, 0, tokens(20))])[0]

    plain = vectors()
    embedder.set_adapters([(0, 1.0)])
    changed = vectors()
    assert not np.allclose(plain, changed, atol=0.01)
    embedder.rebuild()
    np.testing.assert_array_equal(vectors(), changed)
    embedder.reserve(500)
    np.testing.assert_allclose(vectors(), changed, atol=NOISE)
    embedder.set_adapters([])
    np.testing.assert_allclose(vectors(), plain, atol=NOISE)
    embedder.close()
    adapters.close()


def test_it_opens_without_a_word(open_embedder: Open, caplog: pytest.LogCaptureFixture) -> None:
    """llama-server's log tells at each start that the model's default pooling_type is another one."""
    caplog.set_level(logging.INFO)
    open_embedder("llama", Pooling.MEAN, n_ctx=2048).reserve(2048)
    assert caplog.records == []


def test_a_control_vector_steers_embeddings_too(llama: LlamaModel, tmp_path: Path) -> None:
    vector = read_control_vector(llama, [(models.write_control_vector(tmp_path / "vector.gguf"), 1.0)])
    found = []
    for adapters in (None, LlamaAdapters(llama, (), vector)):
        embedder = LlamaEmbedder(llama, SIZES, EmbedderConfig(Pooling.MEAN, 512), adapters)
        found.append(embedder.decode([InputPart(0, 0, tokens(20))])[0])
        embedder.close()
    assert not np.allclose(found[0], found[1], atol=0.01)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_model_without_a_classifier_cannot_rerank(open_embedder: Open, name: str) -> None:
    """libllama would give a number of the hidden state for a score."""
    with pytest.raises(
        ModelError, match=r"\.gguf cannot rerank: it has no classifier \(cls.output.weight or cls.weight\)"
    ):
        open_embedder(name, Pooling.RANK)


@pytest.mark.parametrize("n_ubatch", [1, 7, 65, 100])
def test_batches_of_every_size(llama: LlamaModel, n_ubatch: int) -> None:
    embedder = LlamaEmbedder(llama, replace(SIZES, n_ubatch=n_ubatch), EmbedderConfig(Pooling.MEAN, 512))
    [rows] = embedder.decode([InputPart(0, 0, tokens(n_ubatch))])
    assert rows.shape == (n_ubatch, 64)
    embedder.close()


def test_no_room_is_an_error_and_leaves_what_was(open_embedder: Open) -> None:
    embedder = open_embedder("llama", Pooling.MEAN, n_ctx=2**30)
    with pytest.raises(EngineError, match=r"needs .* GiB"):
        embedder.reserve(2**30)
    assert len(embedder.decode([InputPart(0, 0, tokens(4))])) == 1
