"""Functions of llama.h, ggml-backend.h and gguf.h that we call: result, arguments, and whether the call is short.

A short call keeps the GIL (`PyDLL`): handing it over costs more than the call. Whatever computes, copies, loads or may
wait for a device releases it (`CDLL`). `abi` compares every signature with the header's.
"""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass
from typing import Any

from .structs import (
    LOG_CALLBACK,
    BatchStruct,
    ChainParams,
    ContextParams,
    GGUFParams,
    ModelParams,
    QuantizeParams,
)

CType = type[Any] | None

PTR = c.c_void_p
STR = c.c_char_p
I32 = c.c_int32
U32 = c.c_uint32
I64 = c.c_int64
U64 = c.c_uint64
F32 = c.c_float
BOOL = c.c_bool
SIZE = c.c_size_t


@dataclass(frozen=True, slots=True)
class Function:
    """A C function's signature."""

    result: CType
    arguments: tuple[CType, ...]
    short: bool = True
    library: str = "llama"


def _short(result: CType, *arguments: CType) -> Function:
    return Function(result, arguments)


def _long(result: CType, *arguments: CType) -> Function:
    return Function(result, arguments, short=False)


def _ggml(result: CType, *arguments: CType) -> Function:
    return Function(result, arguments, short=False, library="ggml")


def _gguf(result: CType, *arguments: CType, short: bool = True) -> Function:
    return Function(result, arguments, short, library="ggml-base")


FUNCTIONS: dict[str, Function] = {
    # library
    "llama_version": _short(STR),
    "llama_backend_init": _long(None),
    "llama_log_set": _short(None, LOG_CALLBACK, PTR),
    "llama_model_default_params": _short(ModelParams),
    "llama_context_default_params": _short(ContextParams),
    "llama_model_quantize_default_params": _short(QuantizeParams),
    "llama_sampler_chain_default_params": _short(ChainParams),
    "llama_ftype_name": _short(STR, c.c_int),
    "ggml_backend_load_all_from_path": _ggml(None, STR),
    "ggml_backend_dev_count": _ggml(SIZE),
    "ggml_backend_dev_get": _ggml(PTR, SIZE),
    "ggml_backend_dev_name": _ggml(STR, PTR),
    "ggml_backend_dev_description": _ggml(STR, PTR),
    "ggml_backend_dev_type": _ggml(c.c_int, PTR),
    "ggml_backend_dev_by_type": _ggml(PTR, c.c_int),
    "ggml_backend_dev_memory": _ggml(None, PTR, PTR, PTR),
    "ggml_backend_dev_buffer_type": _ggml(PTR, PTR),
    "ggml_backend_buft_name": _ggml(STR, PTR),
    "ggml_backend_dev_backend_reg": _ggml(PTR, PTR),
    "ggml_backend_reg_get_proc_address": _ggml(PTR, PTR, STR),
    "llama_max_devices": _short(SIZE),
    "llama_numa_init": _long(None, c.c_int),
    # model
    "llama_model_load_from_file": _long(PTR, STR, ModelParams),
    "llama_model_free": _long(None, PTR),
    "llama_model_quantize": _long(U32, STR, STR, PTR),
    "llama_model_get_vocab": _short(PTR, PTR),
    "llama_model_n_ctx_train": _short(I32, PTR),
    "llama_model_n_layer": _short(I32, PTR),
    "llama_model_n_embd": _short(I32, PTR),
    "llama_model_n_embd_out": _short(I32, PTR),
    "llama_model_n_cls_out": _short(U32, PTR),
    "llama_model_n_swa": _short(I32, PTR),
    "llama_model_n_params": _short(U64, PTR),
    "llama_model_size": _short(U64, PTR),
    "llama_model_ftype": _short(c.c_int, PTR),
    "llama_model_desc": _short(I32, PTR, PTR, SIZE),
    "llama_model_meta_count": _short(I32, PTR),
    "llama_model_meta_key_by_index": _short(I32, PTR, I32, PTR, SIZE),
    "llama_model_meta_val_str_by_index": _short(I32, PTR, I32, PTR, SIZE),
    "llama_model_chat_template": _short(STR, PTR, STR),
    "llama_model_has_encoder": _short(BOOL, PTR),
    "llama_model_has_decoder": _short(BOOL, PTR),
    "llama_model_is_recurrent": _short(BOOL, PTR),
    "llama_model_is_hybrid": _short(BOOL, PTR),
    # adapter
    "llama_adapter_lora_init": _long(PTR, PTR, STR),
    "llama_adapter_lora_free": _long(None, PTR),
    "llama_adapter_get_alora_n_invocation_tokens": _short(U64, PTR),
    "llama_adapter_get_alora_invocation_tokens": _short(PTR, PTR),
    "llama_set_adapters_lora": _long(I32, PTR, PTR, SIZE, PTR),
    "llama_set_adapter_cvec": _long(I32, PTR, PTR, SIZE, I32, I32, I32),
    "gguf_init_from_file": _gguf(PTR, STR, GGUFParams, short=False),
    "gguf_free": _gguf(None, PTR, short=False),
    "gguf_get_data_offset": _gguf(SIZE, PTR),
    "gguf_get_n_kv": _gguf(I64, PTR),
    "gguf_get_key": _gguf(STR, PTR, I64),
    "gguf_get_kv_type": _gguf(c.c_int, PTR, I64),
    "gguf_get_n_tensors": _gguf(I64, PTR),
    "gguf_get_tensor_name": _gguf(STR, PTR, I64),
    "gguf_get_tensor_type": _gguf(c.c_int, PTR, I64),
    "gguf_get_tensor_ne": _gguf(PTR, PTR, I64),
    "gguf_get_tensor_offset": _gguf(SIZE, PTR, I64),
    "gguf_get_tensor_size": _gguf(SIZE, PTR, I64),
    # vocabulary
    "llama_vocab_type": _short(c.c_int, PTR),
    "llama_vocab_n_tokens": _short(I32, PTR),
    "llama_vocab_bos": _short(I32, PTR),
    "llama_vocab_eos": _short(I32, PTR),
    "llama_vocab_sep": _short(I32, PTR),
    "llama_vocab_fim_pre": _short(I32, PTR),
    "llama_vocab_fim_suf": _short(I32, PTR),
    "llama_vocab_fim_mid": _short(I32, PTR),
    "llama_vocab_fim_rep": _short(I32, PTR),
    "llama_vocab_fim_sep": _short(I32, PTR),
    "llama_vocab_get_add_bos": _short(BOOL, PTR),
    "llama_vocab_get_add_eos": _short(BOOL, PTR),
    "llama_vocab_get_add_sep": _short(BOOL, PTR),
    "llama_vocab_get_attr": _short(c.c_int, PTR, I32),
    "llama_vocab_is_eog": _short(BOOL, PTR, I32),
    "llama_vocab_get_suppress_tokens": _short(PTR, PTR, PTR),
    "llama_token_to_piece": _short(I32, PTR, I32, PTR, I32, I32, BOOL),
    "llama_tokenize": _long(I32, PTR, STR, I32, PTR, I32, BOOL, BOOL),
    "llama_detokenize": _long(I32, PTR, PTR, I32, PTR, I32, BOOL, BOOL),
    # context
    "llama_init_from_model": _long(PTR, PTR, ContextParams),
    "llama_free": _long(None, PTR),
    "llama_attach_threadpool": _short(None, PTR, PTR, PTR),
    "llama_n_ctx": _short(U32, PTR),
    "llama_n_ctx_seq": _short(U32, PTR),
    "llama_n_batch": _short(U32, PTR),
    "llama_n_ubatch": _short(U32, PTR),
    "llama_n_seq_max": _short(U32, PTR),
    "llama_decode": _long(I32, PTR, BatchStruct),
    "llama_synchronize": _long(None, PTR),
    "llama_get_logits": _short(PTR, PTR),
    "llama_set_sampler": _short(BOOL, PTR, I32, PTR),
    "llama_get_sampled_token_ith": _short(I32, PTR, I32),
    "llama_get_sampled_logits_ith": _short(PTR, PTR, I32),
    "llama_get_sampled_logits_count_ith": _short(U32, PTR, I32),
    "llama_get_sampled_candidates_ith": _short(PTR, PTR, I32),
    "llama_get_embeddings": _short(PTR, PTR),
    "llama_get_embeddings_seq": _short(PTR, PTR, I32),
    "llama_pooling_type": _short(c.c_int, PTR),
    "llama_get_causal_attn": _short(BOOL, PTR),
    "llama_get_memory": _short(PTR, PTR),
    "llama_memory_seq_rm": _short(BOOL, PTR, I32, I32, I32),
    "llama_memory_seq_cp": _short(None, PTR, I32, I32, I32, I32),
    "llama_memory_seq_add": _short(None, PTR, I32, I32, I32, I32),
    "llama_memory_seq_pos_min": _short(I32, PTR, I32),
    "llama_memory_seq_pos_max": _short(I32, PTR, I32),
    "llama_memory_can_shift": _short(BOOL, PTR),
    "llama_state_seq_get_size_ext": _short(SIZE, PTR, I32, U32),
    "llama_state_seq_get_data_ext": _long(SIZE, PTR, PTR, SIZE, I32, U32),
    "llama_state_seq_set_data_ext": _long(SIZE, PTR, PTR, SIZE, I32, U32),
    # samplers
    "llama_sampler_chain_init": _short(PTR, ChainParams),
    "llama_sampler_chain_add": _short(None, PTR, PTR),
    "llama_sampler_free": _short(None, PTR),
    "llama_sampler_accept": _short(None, PTR, I32),
    "llama_sampler_apply": _short(None, PTR, PTR),
    "llama_sampler_init_dist": _short(PTR, U32),
    "llama_sampler_init_top_k": _short(PTR, I32),
    "llama_sampler_init_top_p": _short(PTR, F32, SIZE),
    "llama_sampler_init_min_p": _short(PTR, F32, SIZE),
    "llama_sampler_init_temp_ext": _short(PTR, F32, F32, F32),
    "llama_sampler_init_temp": _short(PTR, F32),
    "llama_sampler_init_typical": _short(PTR, F32, SIZE),
    "llama_sampler_init_xtc": _short(PTR, F32, F32, SIZE, U32),
    "llama_sampler_init_top_n_sigma": _short(PTR, F32),
    "llama_sampler_init_mirostat": _short(PTR, I32, U32, F32, F32, I32),
    "llama_sampler_init_mirostat_v2": _short(PTR, U32, F32, F32),
    "llama_sampler_init_adaptive_p": _short(PTR, F32, F32, U32),
    "llama_sampler_init_infill": _short(PTR, PTR),
    "llama_sampler_init_dry": _long(PTR, PTR, F32, F32, I32, I32, PTR, SIZE),
    "llama_sampler_clone": _short(PTR, PTR),
    "llama_sampler_init_penalties": _short(PTR, I32, I32, F32, F32, F32),
    "llama_sampler_init_logit_bias": _short(PTR, I32, I32, PTR),
}

LONG_TWINS: dict[str, str] = {"llama_sampler_apply_long": "llama_sampler_apply"}
"""Functions that are short on a few candidates and long on a whole vocabulary: name of the long form -> C name."""

CONSTANTS: dict[str, int] = {
    "LLAMA_TOKEN_NULL": -1,
    "LLAMA_POOLING_TYPE_UNSPECIFIED": -1,
    "LLAMA_POOLING_TYPE_NONE": 0,
    "LLAMA_POOLING_TYPE_MEAN": 1,
    "LLAMA_POOLING_TYPE_CLS": 2,
    "LLAMA_POOLING_TYPE_LAST": 3,
    "LLAMA_POOLING_TYPE_RANK": 4,
    "LLAMA_TOKEN_ATTR_UNKNOWN": 1 << 0,
    "LLAMA_TOKEN_ATTR_CONTROL": 1 << 3,
    "LLAMA_FTYPE_ALL_F32": 0,
    "LLAMA_FTYPE_MOSTLY_F16": 1,
    "LLAMA_FTYPE_MOSTLY_Q4_0": 2,
    "LLAMA_FTYPE_MOSTLY_Q8_0": 7,
    "LLAMA_FTYPE_MOSTLY_Q4_K_M": 15,
    "LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY": 1,
    "GGUF_TYPE_FLOAT32": 6,
    "GGUF_TYPE_STRING": 8,
    "GGML_TYPE_F32": 0,
    "GGML_TYPE_I8": 24,
    "GGML_TYPE_I16": 25,
    "GGML_TYPE_I32": 26,
    "GGML_TYPE_I64": 27,
    "GGML_TYPE_F64": 28,
    "GGML_LOG_LEVEL_DEBUG": 1,
    "GGML_LOG_LEVEL_INFO": 2,
    "GGML_LOG_LEVEL_WARN": 3,
    "GGML_LOG_LEVEL_ERROR": 4,
    "GGML_LOG_LEVEL_CONT": 5,
    "GGML_BACKEND_DEVICE_TYPE_CPU": 0,
    "GGML_BACKEND_DEVICE_TYPE_GPU": 1,
    "GGML_BACKEND_DEVICE_TYPE_IGPU": 2,
    "LLAMA_LOAD_MODE_AUTO": -1,
    "LLAMA_LOAD_MODE_NONE": 0,
    "LLAMA_LOAD_MODE_MMAP": 1,
    "LLAMA_LOAD_MODE_MLOCK": 2,
    "LLAMA_LOAD_MODE_MMAP_MLOCK": 3,
    "LLAMA_LOAD_MODE_DIRECT_IO": 4,
    "LLAMA_LAZY_MODE_OFF": 0,
    "LLAMA_LAZY_MODE_AUTO": 1,
    "LLAMA_LAZY_MODE_ON": 2,
    "LLAMA_SPLIT_MODE_NONE": 0,
    "LLAMA_SPLIT_MODE_LAYER": 1,
    "LLAMA_SPLIT_MODE_ROW": 2,
    "LLAMA_SPLIT_MODE_TENSOR": 3,
    "LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED": -1,
    "LLAMA_ROPE_SCALING_TYPE_NONE": 0,
    "LLAMA_ROPE_SCALING_TYPE_LINEAR": 1,
    "LLAMA_ROPE_SCALING_TYPE_YARN": 2,
    "LLAMA_FLASH_ATTN_TYPE_AUTO": -1,
    "LLAMA_FLASH_ATTN_TYPE_DISABLED": 0,
    "LLAMA_FLASH_ATTN_TYPE_ENABLED": 1,
    "LLAMA_KV_OVERRIDE_TYPE_INT": 0,
    "LLAMA_KV_OVERRIDE_TYPE_FLOAT": 1,
    "LLAMA_KV_OVERRIDE_TYPE_BOOL": 2,
    "LLAMA_KV_OVERRIDE_TYPE_STR": 3,
    "GGML_NUMA_STRATEGY_DISTRIBUTE": 1,
    "GGML_NUMA_STRATEGY_ISOLATE": 2,
    "GGML_NUMA_STRATEGY_NUMACTL": 3,
    "GGML_TYPE_F16": 1,
    "GGML_TYPE_BF16": 30,
    "GGML_TYPE_Q8_0": 8,
    "GGML_TYPE_Q4_0": 2,
    "GGML_TYPE_Q4_1": 3,
    "GGML_TYPE_IQ4_NL": 20,
    "GGML_TYPE_Q5_0": 6,
    "GGML_TYPE_Q5_1": 7,
}
