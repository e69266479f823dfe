"""Structs and functions of mtmd.h and mtmd-helper.h that serving images and audio needs.

Declared as those of llama.h in `structs` and `functions`, and checked as they are, but only once `mtmd` is loaded.
"""

from __future__ import annotations

import ctypes as c

from .functions import BOOL, I32, PTR, SIZE, STR, U32, CType, Function
from .structs import LOG_CALLBACK, PROGRESS_CALLBACK


class MtmdParams(c.Structure):
    """mtmd_context_params"""

    _fields_ = [
        ("use_gpu", c.c_bool),
        ("device", c.c_void_p),
        ("print_timings", c.c_bool),
        ("n_threads", c.c_int),
        ("image_marker", c.c_char_p),
        ("media_marker", c.c_char_p),
        ("flash_attn_type", c.c_int),
        ("warmup", c.c_bool),
        ("image_min_tokens", c.c_int),
        ("image_max_tokens", c.c_int),
        ("cb_eval", c.c_void_p),
        ("cb_eval_user_data", c.c_void_p),
        ("batch_max_tokens", c.c_int32),
        ("progress_callback", PROGRESS_CALLBACK),
        ("progress_callback_user_data", c.c_void_p),
    ]


class InputText(c.Structure):
    """mtmd_input_text; `text_len` in bytes"""

    _fields_ = [
        ("text", c.c_char_p),
        ("text_len", c.c_size_t),
        ("add_special", c.c_bool),
        ("parse_special", c.c_bool),
    ]


class Capabilities(c.Structure):
    """mtmd_caps"""

    _fields_ = [("inp_vision", c.c_bool), ("inp_audio", c.c_bool)]


class DecoderPosition(c.Structure):
    """mtmd_decoder_pos"""

    _fields_ = [("t", c.c_uint32), ("x", c.c_uint32), ("y", c.c_uint32), ("z", c.c_uint32)]


class VideoParams(c.Structure):
    """mtmd_helper_video_init_params"""

    _fields_ = [("fps_target", c.c_float), ("ffmpeg_bin_dir", c.c_char_p), ("timestamp_interval_ms", c.c_int64)]


class BitmapOptions(c.Structure):
    """mtmd_helper_init_opt"""

    _fields_ = [("video_params", VideoParams)]


class BitmapWrapper(c.Structure):
    """mtmd_helper_bitmap_wrapper; both NULL for data that is no image, audio or video"""

    _fields_ = [("bitmap", c.c_void_p), ("video_ctx", c.c_void_p)]


STRUCTS: dict[str, type[c.Structure]] = {
    "mtmd_context_params": MtmdParams,
    "mtmd_input_text": InputText,
    "mtmd_caps": Capabilities,
    "mtmd_decoder_pos": DecoderPosition,
    "mtmd_helper_video_init_params": VideoParams,
    "mtmd_helper_init_opt": BitmapOptions,
    "mtmd_helper_bitmap_wrapper": BitmapWrapper,
}


def _short(result: CType, *arguments: CType) -> Function:
    return Function(result, arguments, library="mtmd")


def _long(result: CType, *arguments: CType) -> Function:
    return Function(result, arguments, short=False, library="mtmd")


FUNCTIONS: dict[str, Function] = {
    # projector
    "mtmd_helper_log_set": _short(None, LOG_CALLBACK, PTR),
    "mtmd_default_marker": _short(STR),
    "mtmd_context_params_default": _short(MtmdParams),
    "mtmd_get_cap_from_file": _long(Capabilities, STR),
    "mtmd_init_from_file": _long(PTR, STR, PTR, MtmdParams),
    "mtmd_free": _long(None, PTR),
    "mtmd_support_vision": _short(BOOL, PTR),
    "mtmd_support_audio": _short(BOOL, PTR),
    "mtmd_get_audio_sample_rate": _short(c.c_int, PTR),
    "mtmd_get_marker": _short(STR, PTR),
    "mtmd_decode_use_mrope": _short(BOOL, PTR),
    "mtmd_decode_use_non_causal": _short(BOOL, PTR, PTR),
    # bitmap
    "mtmd_bitmap_init": _long(PTR, U32, U32, PTR),
    "mtmd_bitmap_init_from_audio": _long(PTR, SIZE, PTR),
    "mtmd_bitmap_get_nx": _short(U32, PTR),
    "mtmd_bitmap_get_ny": _short(U32, PTR),
    "mtmd_bitmap_get_data": _short(PTR, PTR),
    "mtmd_bitmap_get_n_bytes": _short(SIZE, PTR),
    "mtmd_bitmap_is_audio": _short(BOOL, PTR),
    "mtmd_bitmap_get_id": _short(STR, PTR),
    "mtmd_bitmap_set_id": _short(None, PTR, STR),
    "mtmd_bitmap_free": _long(None, PTR),
    "mtmd_helper_init_opt_default": _short(BitmapOptions),
    "mtmd_helper_bitmap_init_from_buf": _long(BitmapWrapper, PTR, PTR, SIZE, BOOL, BitmapOptions),
    # text and bitmaps to chunks
    "mtmd_tokenize": _long(I32, PTR, PTR, PTR, PTR, SIZE),
    "mtmd_input_chunks_init": _short(PTR),
    "mtmd_input_chunks_size": _short(SIZE, PTR),
    "mtmd_input_chunks_get": _short(PTR, PTR, SIZE),
    "mtmd_input_chunks_free": _long(None, PTR),
    "mtmd_input_chunk_get_type": _short(c.c_int, PTR),
    "mtmd_input_chunk_get_tokens_text": _short(PTR, PTR, PTR),
    "mtmd_input_chunk_get_tokens_image": _short(PTR, PTR),
    "mtmd_input_chunk_get_n_tokens": _short(SIZE, PTR),
    "mtmd_input_chunk_get_n_pos": _short(I32, PTR),
    "mtmd_input_chunk_get_id": _short(STR, PTR),
    "mtmd_input_chunk_copy": _long(PTR, PTR),
    "mtmd_input_chunk_free": _long(None, PTR),
    "mtmd_image_tokens_get_decoder_pos": _short(DecoderPosition, PTR, I32, SIZE),
    # chunks to embeddings
    "mtmd_encode_chunk": _long(I32, PTR, PTR),
    "mtmd_get_output_embd": _short(PTR, PTR),
    "mtmd_batch_init": _short(PTR, PTR),
    "mtmd_batch_add_chunk": _short(I32, PTR, PTR),
    "mtmd_batch_encode": _long(I32, PTR),
    "mtmd_batch_get_output_embd": _short(PTR, PTR, PTR),
    "mtmd_batch_free": _long(None, PTR),
    "mtmd_helper_decode_image_chunk": _long(I32, PTR, PTR, PTR, PTR, I32, I32, I32, PTR, PTR, PTR),
}

CONSTANTS: dict[str, int] = {
    "MTMD_INPUT_CHUNK_TYPE_TEXT": 0,
    "MTMD_INPUT_CHUNK_TYPE_IMAGE": 1,
    "MTMD_INPUT_CHUNK_TYPE_AUDIO": 2,
}
