"""Tiny GGUFs with random weights, one function an architecture: written in a fraction of a second, never downloaded.

They share their vocabulary, sizes and weights with the models that `bench` measures with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np

from bench.tiny_model import Shape, new_model, vocabulary, write_metadata, write_weights

TINY = Shape(n_layers=2, d_model=64, n_heads=4, n_heads_kv=2, n_vocab=1200, n_ctx=2048, weights="f32")
"""Small enough to load in milliseconds. Random, and yet its most likely tokens are ASCII words."""

WINDOW = 32
"""Tokens that the sliding-window layers of `write_gemma3` look back, the current one included."""


def write_llama(path: Path, shape: Shape = TINY, templates: Mapping[str, str] | None = None) -> Path:
    """A llama: full attention, an SPM vocabulary with BOS. `templates` by name replace its chat template."""
    vocab = vocabulary(shape)
    with new_model(path, "llama") as writer:
        write_metadata(writer, shape, vocab)
        if templates is not None:
            _replace_templates(writer, templates)
        write_weights(writer, shape, vocab)
    return path


def _replace_templates(writer: gguf.GGUFWriter, templates: Mapping[str, str]) -> None:
    del writer.kv_data[0]["tokenizer.chat_template"]
    writer.add_chat_template([{"name": name, "template": source} for name, source in templates.items()])


def write_llama_bpe(path: Path, shape: Shape = TINY) -> Path:
    """A llama with a GPT-2-like vocabulary: no BOS, control tokens last."""
    return write_llama(path, replace(shape, tokenizer="bpe"))


def write_gemma3(path: Path, shape: Shape = TINY, window: int = WINDOW) -> Path:
    """A gemma3: layers with a sliding window and with full attention in turn."""
    vocab = vocabulary(shape)
    with new_model(path, "gemma3") as writer:
        write_metadata(writer, shape, vocab)
        writer.add_sliding_window(window)
        writer.add_sliding_window_pattern([layer % 2 == 0 for layer in range(shape.n_layers)])
        write_weights(writer, shape, vocab)
        _write_gemma3_norms(writer, shape)
    return path


def _write_gemma3_norms(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """The norms that gemma3 has and llama has not: around attention and feed-forward, and of queries and keys."""
    sizes = {
        "post_attention_norm": shape.d_model,
        "post_ffw_norm": shape.d_model,
        "attn_q_norm": shape.d_model // shape.n_heads,
        "attn_k_norm": shape.d_model // shape.n_heads,
    }
    for layer in range(shape.n_layers):
        for name, size in sizes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(size, np.float32))


def write_unknown(path: Path) -> Path:
    """A whole GGUF of an architecture that libllama does not know."""
    vocab = vocabulary(TINY)
    with new_model(path, "unheard-of") as writer:
        write_metadata(writer, TINY, vocab)
        write_weights(writer, TINY, vocab)
    return path


def write_lora(path: Path, shape: Shape = TINY, architecture: str = "llama", scale: float = 1.0) -> Path:
    """A LoRA of rank 2 for the queries of every layer of a model of that shape."""
    random = np.random.default_rng(1)
    with new_model(path, architecture) as writer:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 2.0)
        for layer in range(shape.n_layers):
            name = f"blk.{layer}.attn_q.weight"
            writer.add_tensor(f"{name}.lora_a", scale * random.normal(size=(2, shape.d_model)).astype(np.float32))
            writer.add_tensor(f"{name}.lora_b", random.normal(size=(shape.d_model, 2)).astype(np.float32))
    return path
