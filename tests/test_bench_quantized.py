"""Models in Q4_K whose bits are drawn: what libllama's own library reads in them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from bench.models import LLAMA_8B, SMALL
from bench.quantized import Kind, q4_k_blocks, q6_k_blocks, tensors, write_quantized
from bench.tiny_model import LOGIT_STD, vocabulary

SHAPE = replace(SMALL, d_model=256)


@pytest.mark.parametrize(("draw", "kind"), [(q4_k_blocks, Kind.Q4_K), (q6_k_blocks, Kind.Q6_K)])
def test_blocks_hold_weights_of_the_wanted_deviation(draw: object, kind: gguf.GGMLQuantizationType) -> None:
    blocks = draw(np.random.default_rng(1), 4_000, 0.05)  # type: ignore[operator]
    weights = dequantize(blocks, kind)
    assert weights.size == 4_000 * 256
    assert abs(weights.mean()) < 0.003
    assert weights.std() == pytest.approx(0.05, rel=0.01)


def test_the_file_has_every_tensor_and_words_only_are_likely(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_quantized(path, SHAPE)
    reader = gguf.GGUFReader(path)
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert len(found) == 3 + 9 * SHAPE.n_layers
    assert {tensor.tensor_type for tensor in found.values()} == {Kind.F32, Kind.Q4_K, Kind.Q6_K}
    output = dequantize(found["output.weight"].data, Kind.Q6_K)
    n_first = vocabulary(SHAPE).first_word
    assert not output[:n_first].any()
    assert output[n_first:].std() == pytest.approx(LOGIT_STD / 16, rel=0.02)
    assert list(found["blk.0.ffn_down.weight"].shape) == [SHAPE.ff, 256]
    again = tmp_path / "again.gguf"
    write_quantized(again, SHAPE)
    assert again.read_bytes() == path.read_bytes()


def test_a_width_that_is_no_multiple_of_a_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be multiples of 256"):
        write_quantized(tmp_path / "model.gguf", SMALL)


def test_eight_billion_weights_are_those_of_llama() -> None:
    found = list(tensors(LLAMA_8B, vocabulary(replace(LLAMA_8B, n_vocab=512))))
    n_weights = sum(int(np.prod(tensor.shape)) for tensor in found)
    assert 8.0e9 < n_weights < 8.1e9
    assert 4.6e9 < sum(tensor.n_bytes for tensor in found) < 5.0e9


def test_writing_takes_the_memory_of_a_piece(tmp_path: Path) -> None:
    shape = replace(SHAPE, d_model=1024, n_heads=8, n_heads_kv=8, n_layers=8)  # 70 MB
    path = tmp_path / "model.gguf"
    tracemalloc.start()
    try:
        write_quantized(path, shape)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 1.5 * peak
