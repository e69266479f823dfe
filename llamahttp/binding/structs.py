"""Structs of llama.h and gguf.h that cross ctypes by value or by pointer, field for field.

`abi` compares sizes and offsets with what the compiler made of the header, so a field that moved is an error at load.
"""

from __future__ import annotations

import ctypes as c
from typing import Any

LOG_CALLBACK = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
"""ggml_log_callback(level, text, user_data)"""

PROGRESS_CALLBACK = c.CFUNCTYPE(c.c_bool, c.c_float, c.c_void_p)
"""llama_progress_callback(progress 0..1, user_data) -> go on"""

CALLBACKS = (LOG_CALLBACK, PROGRESS_CALLBACK)


class ModelParams(c.Structure):
    """llama_model_params"""

    _fields_ = [
        ("devices", c.c_void_p),
        ("tensor_buft_overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32),
        ("split_mode", c.c_int),
        ("load_mode", c.c_int),
        ("lazy_mode", c.c_int),
        ("main_gpu", c.c_int32),
        ("tensor_split", c.c_void_p),
        ("progress_callback", PROGRESS_CALLBACK),
        ("progress_callback_user_data", c.c_void_p),
        ("kv_overrides", c.c_void_p),
        ("vocab_only", c.c_bool),
        ("check_tensors", c.c_bool),
        ("use_extra_bufts", c.c_bool),
        ("no_host", c.c_bool),
        ("no_alloc", c.c_bool),
        ("load_mtp", c.c_bool),
    ]


class ContextParams(c.Structure):
    """llama_context_params"""

    _fields_ = [
        ("n_ctx", c.c_uint32),
        ("n_batch", c.c_uint32),
        ("n_ubatch", c.c_uint32),
        ("n_seq_max", c.c_uint32),
        ("n_rs_seq", c.c_uint32),
        ("n_outputs_max", c.c_uint32),
        ("n_outputs_max_per_seq", c.c_uint32),
        ("n_threads", c.c_int32),
        ("n_threads_batch", c.c_int32),
        ("ctx_type", c.c_int),
        ("rope_scaling_type", c.c_int),
        ("pooling_type", c.c_int),
        ("attention_type", c.c_int),
        ("flash_attn_type", c.c_int),
        ("rope_freq_base", c.c_float),
        ("rope_freq_scale", c.c_float),
        ("yarn_ext_factor", c.c_float),
        ("yarn_attn_factor", c.c_float),
        ("yarn_beta_fast", c.c_float),
        ("yarn_beta_slow", c.c_float),
        ("yarn_orig_ctx", c.c_uint32),
        ("defrag_thold", c.c_float),
        ("cb_eval", c.c_void_p),
        ("cb_eval_user_data", c.c_void_p),
        ("type_k", c.c_int),
        ("type_v", c.c_int),
        ("abort_callback", c.c_void_p),
        ("abort_callback_data", c.c_void_p),
        ("embeddings", c.c_bool),
        ("offload_kqv", c.c_bool),
        ("no_perf", c.c_bool),
        ("op_offload", c.c_bool),
        ("swa_full", c.c_bool),
        ("kv_unified", c.c_bool),
        ("samplers", c.c_void_p),
        ("n_samplers", c.c_size_t),
        ("ctx_other", c.c_void_p),
    ]


class KVOverride(c.Structure):
    """llama_model_kv_override; its union of a number and a text lies where `val_i64` begins."""

    _fields_ = [("tag", c.c_int), ("key", c.c_char * 128), ("val_i64", c.c_int64), ("_rest", c.c_char * 120)]


class TensorBufferOverride(c.Structure):
    """llama_model_tensor_buft_override"""

    _fields_ = [("pattern", c.c_char_p), ("buft", c.c_void_p)]


class ThreadPoolParams(c.Structure):
    """ggml_threadpool_params"""

    _fields_ = [
        ("cpumask", c.c_bool * 512),
        ("n_threads", c.c_int),
        ("prio", c.c_int),
        ("poll", c.c_uint32),
        ("strict_cpu", c.c_bool),
        ("paused", c.c_bool),
    ]


class QuantizeParams(c.Structure):
    """llama_model_quantize_params"""

    _fields_ = [
        ("nthread", c.c_int32),
        ("ftype", c.c_int),
        ("output_tensor_type", c.c_int),
        ("token_embedding_type", c.c_int),
        ("allow_requantize", c.c_bool),
        ("quantize_output_tensor", c.c_bool),
        ("only_copy", c.c_bool),
        ("pure", c.c_bool),
        ("keep_split", c.c_bool),
        ("dry_run", c.c_bool),
        ("imatrix", c.c_void_p),
        ("kv_overrides", c.c_void_p),
        ("tt_overrides", c.c_void_p),
        ("prune_layers", c.c_void_p),
        ("max_buf_size", c.c_size_t),
    ]


class BatchStruct(c.Structure):
    """llama_batch; the pointers are those of numpy columns that `decoder.LlamaBatch` owns."""

    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.c_void_p),
        ("embd", c.c_void_p),
        ("pos", c.c_void_p),
        ("n_seq_id", c.c_void_p),
        ("seq_id", c.c_void_p),
        ("logits", c.c_void_p),
    ]


class TokenData(c.Structure):
    """llama_token_data"""

    _fields_ = [("id", c.c_int32), ("logit", c.c_float), ("p", c.c_float)]


class TokenDataArray(c.Structure):
    """llama_token_data_array; `selected` is an index into `data`, not a token id."""

    _fields_ = [
        ("data", c.c_void_p),
        ("size", c.c_size_t),
        ("selected", c.c_int64),
        ("sorted", c.c_bool),
    ]


class LogitBias(c.Structure):
    """llama_logit_bias"""

    _fields_ = [("token", c.c_int32), ("bias", c.c_float)]


class ChainParams(c.Structure):
    """llama_sampler_chain_params"""

    _fields_ = [("no_perf", c.c_bool)]


class GGUFParams(c.Structure):
    """gguf_init_params"""

    _fields_ = [("no_alloc", c.c_bool), ("ctx", c.c_void_p)]


def pointer(struct: c.Structure) -> Any:
    """A pointer to a struct, for functions that take one."""
    return c.cast(c.pointer(struct), c.c_void_p)


STRUCTS: dict[str, type[c.Structure]] = {
    "llama_model_params": ModelParams,
    "llama_model_kv_override": KVOverride,
    "llama_model_tensor_buft_override": TensorBufferOverride,
    "ggml_threadpool_params": ThreadPoolParams,
    "llama_context_params": ContextParams,
    "llama_model_quantize_params": QuantizeParams,
    "llama_batch": BatchStruct,
    "llama_token_data": TokenData,
    "llama_token_data_array": TokenDataArray,
    "llama_logit_bias": LogitBias,
    "llama_sampler_chain_params": ChainParams,
    "gguf_init_params": GGUFParams,
}
