"""Tiny GGUFs with random weights, one function an architecture: written in a fraction of a second, never downloaded.

They share their vocabulary, sizes and weights with the models that `bench` measures with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.tiny_model import Shape, new_model, vocabulary, write_metadata, write_weights

TINY = Shape(n_layers=2, d_model=64, n_heads=4, n_heads_kv=2, n_vocab=1200, n_ctx=2048, weights="f32")
"""Small enough to load in milliseconds. Random, and yet its most likely tokens are ASCII words."""

WINDOW = 32
"""Tokens that the sliding-window layers of `write_gemma3` look back, the current one included."""


SSM_CONV, SSM_STATE, SSM_RANK = 4, 16, 8
"""Sizes of `write_mamba`: tokens that its convolutions see, and numbers and rank of the state of a channel."""

SHORT_CONV = 4
"""Tokens that the convolutions of `write_lfm2` see, the current one included."""


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


def write_infill(path: Path, shape: Shape = TINY) -> Path:
    """A llama that has names for the middle of a text: its last three tokens."""
    vocab = vocabulary(shape)
    with new_model(path, "llama") as writer:
        write_metadata(writer, shape, vocab)
        for i, name in enumerate(("pre", "suf", "mid")):
            writer.add_uint32(f"tokenizer.ggml.fim_{name}_token_id", shape.n_vocab - 3 + i)
        write_weights(writer, shape, vocab)
    return path


def write_broken(path: Path, shape: Shape = TINY) -> Path:
    """A llama whose logits are not numbers, as of weights that were damaged on their way."""
    vocab = vocabulary(shape)
    with new_model(path, "llama") as writer:
        write_metadata(writer, shape, vocab)
        write_weights(writer, shape, vocab)
        del writer.tensors[0]["output_norm.weight"]
        writer.add_tensor("output_norm.weight", np.full(shape.d_model, np.nan, np.float32))
    return path


def split(source: Path, folder: Path, n_parts: int, name: str = "model") -> list[Path]:
    """The parts of a model, which have as many tensors each, but for the last."""
    reader = gguf.GGUFReader(source)
    n_tensors = -(-len(reader.tensors) // n_parts)
    with contextlib.redirect_stderr(None):
        writer = gguf.GGUFWriter(folder / f"{name}.gguf", "llama", split_max_tensors=n_tensors)
        for field in reader.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            kind = field.types[0]
            item = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, item)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return sorted(folder.glob(f"{name}-*.gguf"))


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


def write_mamba(path: Path, shape: Shape = TINY) -> Path:
    """A mamba: every layer is recurrent, no attention; a sequence is one state however long it is."""
    vocab = vocabulary(shape)
    with new_model(path, "mamba") as writer:
        write_metadata(writer, replace(shape, n_heads=1, n_heads_kv=1), vocab)
        writer.add_ssm_conv_kernel(SSM_CONV)
        writer.add_ssm_inner_size(2 * shape.d_model)
        writer.add_ssm_state_size(SSM_STATE)
        writer.add_ssm_time_step_rank(SSM_RANK)
        _write_ends(writer, shape)
        for layer in range(shape.n_layers):
            _write_mamba_layer(writer, shape, layer)
    return path


def _write_ends(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """The embeddings, the last norm and the output of the llama of that shape, without its layers."""
    write_weights(writer, replace(shape, n_layers=0), vocabulary(shape))


def _write_mamba_layer(writer: gguf.GGUFWriter, shape: Shape, layer: int) -> None:
    random = np.random.default_rng(1000 + layer)
    d, inner = shape.d_model, 2 * shape.d_model
    block = f"blk.{layer}"
    for name, (n_out, n_in) in {
        "ssm_in": (2 * inner, d),
        "ssm_conv1d": (inner, SSM_CONV),
        "ssm_x": (SSM_RANK + 2 * SSM_STATE, inner),
        "ssm_dt": (inner, SSM_RANK),
        "ssm_out": (d, inner),
    }.items():
        writer.add_tensor(f"{block}.{name}.weight", _matrix(random, n_out, n_in))
    writer.add_tensor(f"{block}.attn_norm.weight", np.ones(d, np.float32))
    writer.add_tensor(f"{block}.ssm_conv1d.bias", np.zeros(inner, np.float32))
    # steps of about softplus(-3), 0.05, with decays of up to exp(-0.08): the state remembers hundreds of tokens
    writer.add_tensor(f"{block}.ssm_dt.bias", np.full(inner, -3, np.float32))
    writer.add_tensor(f"{block}.ssm_a", -np.tile(np.arange(1, SSM_STATE + 1, dtype=np.float32) / 10, (inner, 1)))
    writer.add_tensor(f"{block}.ssm_d", np.ones(inner, np.float32))


def write_lfm2(path: Path, shape: Shape = TINY) -> Path:
    """An lfm2: a hybrid, whose layers are convolutions with a recurrent state and full attention in turn."""
    vocab = vocabulary(shape)
    is_attention = [layer % 2 == 1 for layer in range(shape.n_layers)]
    with new_model(path, "lfm2") as writer:
        write_metadata(writer, shape, vocab)
        del writer.kv_data[0]["lfm2.attention.head_count_kv"]
        writer.add_head_count_kv([shape.kv_heads * attention for attention in is_attention])
        writer.add_shortconv_l_cache(SHORT_CONV)
        write_weights(writer, shape, vocab)
        _rename(writer, "output_norm.weight", "token_embd_norm.weight")
        for layer, attention in enumerate(is_attention):
            if attention:
                _write_head_norms(writer, shape, layer)
            else:
                _replace_attention_by_convolution(writer, shape, layer)
    return path


def _rename(writer: gguf.GGUFWriter, old: str, new: str) -> None:
    writer.tensors[0][new] = writer.tensors[0].pop(old)


def _write_head_norms(writer: gguf.GGUFWriter, shape: Shape, layer: int) -> None:
    for name in ("attn_q_norm", "attn_k_norm"):
        writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(shape.d_model // shape.n_heads, np.float32))


def _replace_attention_by_convolution(writer: gguf.GGUFWriter, shape: Shape, layer: int) -> None:
    random = np.random.default_rng(1000 + layer)
    d, block = shape.d_model, f"blk.{layer}"
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        del writer.tensors[0][f"{block}.{name}.weight"]
    for name, (n_out, n_in) in {"in_proj": (3 * d, d), "conv": (d, SHORT_CONV), "out_proj": (d, d)}.items():
        writer.add_tensor(f"{block}.shortconv.{name}.weight", _matrix(random, n_out, n_in))


BERT = replace(TINY, n_heads_kv=4, n_ctx=1024)
"""An encoder: without grouped heads, and with learned positions, which end with its context."""

CLS, SEP = 1, 2
"""Tokens that a BERT puts at the beginning of a text, and at its end and between two."""

RERANK_TEMPLATE = "judge {query} against {document} now"
LABELS = ["yes", "no"]


def write_bert(path: Path, shape: Shape = BERT, pooling: int = gguf.PoolingType.MEAN) -> Path:
    """A BERT: attention to both sides, no memory, no output; texts are `[CLS] ... [SEP]`."""
    with new_model(path, "bert") as writer:
        _write_bert(writer, shape, pooling)
    return path


def write_reranker(path: Path, shape: Shape = BERT) -> Path:
    """A BERT with a classifier behind the vector of `[CLS]`."""
    random = np.random.default_rng(7)
    d = shape.d_model
    with new_model(path, "bert") as writer:
        _write_bert(writer, shape, gguf.PoolingType.RANK)
        writer.add_classifier_output_labels(LABELS[:1])
        writer.add_tensor("cls.weight", _matrix(random, d, d))
        writer.add_tensor("cls.bias", np.zeros(d, np.float32))
        writer.add_tensor("cls.output.weight", 4 * _matrix(random, 1, d))
        writer.add_tensor("cls.output.bias", np.full(1, 0.5, np.float32))
    return path


def _write_bert(writer: gguf.GGUFWriter, shape: Shape, pooling: int) -> None:
    random = np.random.default_rng(shape.seed)
    d = shape.d_model
    writer.add_name("tiny-bert")
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(d)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.n_heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    _write_wordpieces(writer, shape)
    for name, n_rows in (("token_embd", shape.n_vocab), ("position_embd", shape.n_ctx), ("token_types", 2)):
        writer.add_tensor(f"{name}.weight", random.normal(size=(n_rows, d)).astype(np.float32))
    _write_layer_norm(writer, "token_embd_norm", d)
    for layer in range(shape.n_layers):
        block = f"blk.{layer}"
        sizes = {name: (d, d) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        for name, (n_out, n_in) in (sizes | {"ffn_up": (shape.ff, d), "ffn_down": (d, shape.ff)}).items():
            writer.add_tensor(f"{block}.{name}.weight", _matrix(random, n_out, n_in))
            writer.add_tensor(f"{block}.{name}.bias", 0.1 * random.normal(size=n_out).astype(np.float32))
        _write_layer_norm(writer, f"{block}.attn_output_norm", d)
        _write_layer_norm(writer, f"{block}.layer_output_norm", d)


def _write_layer_norm(writer: gguf.GGUFWriter, name: str, size: int) -> None:
    writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
    writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))


def _write_wordpieces(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """The words of `bench.tiny_model` under the names that BERT's tokenizer looks for."""
    vocab = vocabulary(shape)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *vocab.texts[5:]])
    writer.add_token_types([gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.NORMAL] * (shape.n_vocab - 5))
    writer.add_token_type_count(2)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(CLS)
    writer.add_eos_token_id(SEP)
    writer.add_sep_token_id(SEP)
    writer.add_pad_token_id(3)
    writer.add_mask_token_id(4)


def write_qwen3_reranker(path: Path, shape: Shape = TINY) -> Path:
    """A qwen3 with a classifier behind the last token, and a template for what it rates: it generates, too."""
    random = np.random.default_rng(7)
    with new_model(path, "qwen3") as writer:
        write_metadata(writer, shape, vocabulary(shape))
        writer.add_pooling_type(gguf.PoolingType.RANK)
        writer.add_classifier_output_labels(LABELS)
        writer.add_string("tokenizer.chat_template.rerank", RERANK_TEMPLATE)
        write_weights(writer, shape, vocabulary(shape))
        for layer in range(shape.n_layers):
            _write_head_norms(writer, shape, layer)
        writer.add_tensor("cls.output.weight", 4 * _matrix(random, len(LABELS), shape.d_model))
    return path


def write_t5(path: Path, shape: Shape = TINY) -> Path:
    """The metadata and some weights of an encoder-decoder."""
    with new_model(path, "t5") as writer:
        write_metadata(writer, replace(shape, n_heads_kv=shape.n_heads), vocabulary(shape))
        writer.add_relative_attn_buckets_count(32)
        writer.add_decoder_start_token_id(0)
        _write_t5_weights(writer, shape)
    return path


def _write_t5_weights(writer: gguf.GGUFWriter, shape: Shape) -> None:
    random = np.random.default_rng(1)
    d, ones = shape.d_model, np.ones(shape.d_model, np.float32)
    writer.add_tensor("token_embd.weight", random.normal(size=(shape.n_vocab, d)).astype(np.float32))
    for side in ("enc", "dec"):
        writer.add_tensor(f"{side}.output_norm.weight", ones)
        for layer in range(shape.n_layers):
            block = f"{side}.blk.{layer}"
            kinds = ("attn", "cross_attn") if side == "dec" else ("attn",)
            for kind in kinds:
                writer.add_tensor(f"{block}.{kind}_norm.weight", ones)
                for name in ("q", "k", "v", "o"):
                    writer.add_tensor(f"{block}.{kind}_{name}.weight", _matrix(random, d, d))
            writer.add_tensor(f"{block}.attn_rel_b.weight", random.normal(size=(32, shape.n_heads)).astype(np.float32))
            writer.add_tensor(f"{block}.ffn_norm.weight", ones)
            writer.add_tensor(f"{block}.ffn_up.weight", _matrix(random, shape.ff, d))
            writer.add_tensor(f"{block}.ffn_down.weight", _matrix(random, d, shape.ff))


def _matrix(random: np.random.Generator, n_out: int, n_in: int) -> NDArray[np.float32]:
    """Random weights that keep activations near unit size."""
    return (n_in**-0.5 * random.normal(size=(n_out, n_in))).astype(np.float32)


def write_unknown(path: Path) -> Path:
    """A whole GGUF of an architecture that libllama does not know."""
    vocab = vocabulary(TINY)
    with new_model(path, "unheard-of") as writer:
        write_metadata(writer, TINY, vocab)
        write_weights(writer, TINY, vocab)
    return path


def write_lora(
    path: Path,
    shape: Shape = TINY,
    architecture: str = "llama",
    scale: float = 1.0,
    invocation: Sequence[int] = (),
    metadata: Mapping[str, int] = MappingProxyType({}),
    tensor: str = "attn_q",
    n_out: int | None = None,
) -> Path:
    """A LoRA of rank 2 for a tensor of every layer of a model of that shape; an aLoRA with tokens that invoke it.

    `metadata`: values of another type than theirs. `n_out`: rows of the tensor, if they are not as many as columns.
    """
    random = np.random.default_rng(1)
    with new_model(path, architecture) as writer:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 2.0)
        if invocation:
            tokens = [np.uint32(token) for token in invocation]
            writer.add_key_value(
                "adapter.alora.invocation_tokens", tokens, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32
            )
        for key, value in metadata.items():
            writer.kv_data[0].pop(key, None)
            writer.add_int32(key, value)
        for layer in range(shape.n_layers):
            name = f"blk.{layer}.{tensor}.weight"
            writer.add_tensor(f"{name}.lora_a", scale * random.normal(size=(2, shape.d_model)).astype(np.float32))
            writer.add_tensor(f"{name}.lora_b", random.normal(size=(n_out or shape.d_model, 2)).astype(np.float32))
    return path


def write_control_vector(
    path: Path, shape: Shape = TINY, layers: Sequence[int] = (1,), seed: int = 1, name: str = "direction"
) -> Path:
    """A control vector with a random direction for each of `layers` of a model of that shape."""
    random = np.random.default_rng(seed)
    with new_model(path, "controlvector") as writer:
        writer.add_string("controlvector.model_hint", "llama")
        writer.add_uint32("controlvector.layer_count", len(layers))
        for layer in layers:
            writer.add_tensor(f"{name}.{layer}", random.normal(size=shape.d_model).astype(np.float32))
    return path
