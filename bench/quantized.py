"""Quantized models: llama GGUFs of real size in Q4_K with random weights, written piece by piece.

Nothing is quantized: the bits of the blocks are drawn as they are, which gives weights of the wanted mean and deviation
as fast as random bytes come, and takes the memory of one piece. The output matrix is in Q6_K, as Q4_K_M has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.tiny_model import LOGIT_STD, Shape, Vocabulary, vocabulary, write_metadata

Kind = gguf.GGMLQuantizationType
Bytes = NDArray[np.uint8]

BLOCK = 256
"""Weights of a block of either type."""
PIECE_BYTES = 16 << 20

# A block of Q4_K: two half floats d and dmin, twelve bytes with eight scales and eight minima of six bits, and 256
# quants of four. A weight is d * scale * quant - dmin * minimum. With 32 for all scales and minima the bytes are these:
Q4_K_SCALES = np.array([160] * 8 + [0] * 4, np.uint8)
Q4_K_STEP = 32 * math.sqrt((16**2 - 1) / 12)
"""Deviation of 32 times an even choice of 16 quants; their mean is 7.5."""

# A block of Q6_K: 128 bytes with the low four bits of 256 quants, 64 with their high two, sixteen scales of a signed
# byte, and a half float d. A weight is d * scale * (quant - 32).
Q6_K_STEP = math.sqrt((64**2 - 1) / 12)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A matrix to be drawn, or a vector of ones. `std` is the deviation of each weight; `live` marks its rows that
    are not zero."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    std: float = 0.0
    live: NDArray[np.bool_] | None = None

    @property
    def row_bytes(self) -> int:
        n_weights, n_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return self.shape[-1] // n_weights * n_bytes

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape[:-1]) * self.row_bytes


def tensors(shape: Shape, vocab: Vocabulary) -> Iterator[Tensor]:
    """Those of a llama, in the order of the file."""
    d, d_kv, ff = shape.d_model, shape.d_model // shape.n_heads * shape.kv_heads, shape.ff
    is_word = np.array([i >= vocab.first_word and kind == gguf.TokenType.NORMAL for i, kind in enumerate(vocab.types)])
    yield Tensor("token_embd", Kind.Q4_K, (shape.n_vocab, d), 1.0)
    yield Tensor("output_norm", Kind.F32, (d,))
    yield Tensor("output", Kind.Q6_K, (shape.n_vocab, d), LOGIT_STD * d**-0.5, is_word)
    for layer in range(shape.n_layers):
        sizes = {
            "attn_q": (d, d),
            "attn_k": (d_kv, d),
            "attn_v": (d_kv, d),
            "attn_output": (d, d),
            "ffn_gate": (ff, d),
            "ffn_up": (ff, d),
            "ffn_down": (d, ff),
        }
        for name in ("attn_norm", "ffn_norm"):
            yield Tensor(f"blk.{layer}.{name}", Kind.F32, (d,))
        for name, (n_out, n_in) in sizes.items():
            yield Tensor(f"blk.{layer}.{name}", Kind.Q4_K, (n_out, n_in), n_in**-0.5)


def q4_k_blocks(rng: np.random.Generator, n: int, std: float) -> Bytes:
    """uint8[n, 144], weights of mean 0."""
    d = np.float16(std / Q4_K_STEP)
    blocks = np.empty((n, 144), np.uint8)
    blocks[:, 0:4] = np.array([d, 7.5 * d], np.float16).view(np.uint8)
    blocks[:, 4:16] = Q4_K_SCALES
    blocks[:, 16:] = np.frombuffer(rng.bytes(n * 128), np.uint8).reshape(n, 128)
    return blocks


def q6_k_blocks(rng: np.random.Generator, n: int, std: float) -> Bytes:
    """uint8[n, 210], weights of mean -0.5 steps, of which there are 64."""
    blocks = np.empty((n, 210), np.uint8)
    blocks[:, :192] = np.frombuffer(rng.bytes(n * 192), np.uint8).reshape(n, 192)
    blocks[:, 192:208] = 1
    blocks[:, 208:] = np.array([std / Q6_K_STEP], np.float16).view(np.uint8)
    return blocks


DRAW: dict[Kind, Callable[[np.random.Generator, int, float], Bytes]] = {Kind.Q4_K: q4_k_blocks, Kind.Q6_K: q6_k_blocks}


def pieces(tensor: Tensor, rng: np.random.Generator) -> Iterator[Bytes]:
    """The bytes of a tensor, some rows at a time."""
    if tensor.kind is Kind.F32:
        yield np.ones(tensor.shape, np.float32).view(np.uint8)
        return
    n_rows, n_in = tensor.shape
    n_at_once = max(1, PIECE_BYTES // tensor.row_bytes)
    for first in range(0, n_rows, n_at_once):
        n = min(n_at_once, n_rows - first)
        rows = DRAW[tensor.kind](rng, n * n_in // BLOCK, tensor.std).reshape(n, tensor.row_bytes)
        if tensor.live is not None:
            rows[~tensor.live[first : first + n]] = 0
        yield rows


def write_quantized(path: Path, shape: Shape) -> None:
    """Write the GGUF at `path`; the same shape gives the same bytes. OSError when it cannot be written.

    ValueError for a width that is no multiple of a block.
    """
    if shape.d_model % BLOCK or shape.ff % BLOCK:
        raise ValueError(f"d_model {shape.d_model} and n_ff {shape.ff} must be multiples of {BLOCK}")
    shape = replace(shape, weights="q4_k")
    vocab = vocabulary(shape)
    found = list(tensors(shape, vocab))
    partial = path.with_name(path.name + ".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    write_metadata(writer, shape, vocab)
    for each in found:
        writer.add_tensor_info(f"{each.name}.weight", each.shape, np.dtype(np.float32), each.n_bytes, each.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    rng = np.random.default_rng(shape.seed)
    for each in found:
        for piece in pieces(each, rng):
            piece.tofile(file)
        writer.write_padding(file, each.n_bytes)
    writer.close()
    partial.replace(path)
