"""Images and audio: libmtmd itself, and what is said of projector files that are none."""

from __future__ import annotations

import ctypes as c
from pathlib import Path

import numpy as np
import pytest

from llamahttp.binding import abi, library, mtmd
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError


def test_our_declarations_are_what_the_compiler_made_of_the_headers() -> None:
    assert abi.differences(library.load().manifest["abi"], abi.MTMD) == []


def test_the_default_parameters_read_back() -> None:
    lib = mtmd.load()
    params = lib.mtmd_context_params_default()
    assert lib.mtmd_default_marker() == params.media_marker == b"<__media__>"
    assert (params.use_gpu, params.warmup, params.n_threads) == (True, True, 4)
    assert (params.image_min_tokens, params.image_max_tokens, params.batch_max_tokens) == (-1, -1, 1024)


def test_a_bitmap_is_a_copy_of_its_pixels() -> None:
    lib = mtmd.load()
    pixels = np.arange(4 * 2 * 3, dtype=np.uint8)  # two rows of four RGB pixels
    bitmap = lib.mtmd_bitmap_init(4, 2, pixels.ctypes.data)
    assert bitmap
    try:
        expected = pixels.tobytes()
        pixels[:] = 0
        assert (lib.mtmd_bitmap_get_nx(bitmap), lib.mtmd_bitmap_get_ny(bitmap)) == (4, 2)
        n_bytes = lib.mtmd_bitmap_get_n_bytes(bitmap)
        assert c.string_at(lib.mtmd_bitmap_get_data(bitmap), n_bytes) == expected
        assert not lib.mtmd_bitmap_is_audio(bitmap)
        lib.mtmd_bitmap_set_id(bitmap, b"a picture")
        assert lib.mtmd_bitmap_get_id(bitmap) == b"a picture"
    finally:
        lib.mtmd_bitmap_free(bitmap)


def test_sound_is_a_bitmap_too() -> None:
    lib = mtmd.load()
    samples = np.linspace(-1, 1, 16, dtype=np.float32)
    bitmap = lib.mtmd_bitmap_init_from_audio(len(samples), samples.ctypes.data)
    assert bitmap
    try:
        assert lib.mtmd_bitmap_is_audio(bitmap)
        data = c.string_at(lib.mtmd_bitmap_get_data(bitmap), lib.mtmd_bitmap_get_n_bytes(bitmap))
        assert np.array_equal(np.frombuffer(data, np.float32), samples)
    finally:
        lib.mtmd_bitmap_free(bitmap)


@pytest.mark.parametrize("data", [b"GGUF", b"GGUF" + bytes(100), b"GGUF\x03\x00\x00\x00" + b"\xff" * 100])
def test_a_corrupt_file_is_no_projector(llama: LlamaModel, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(data)
    params = mtmd.load().mtmd_context_params_default()
    assert mtmd.load().mtmd_init_from_file(str(path).encode(), llama.handle, params) is None
    with pytest.raises(ModelError, match=f"cannot load the projector {path}: .+"):
        mtmd.LlamaProjector(llama, path, n_threads=1)


def test_a_model_is_no_projector(llama: LlamaModel, llama_gguf: Path) -> None:
    with pytest.raises(ModelError, match=f"cannot load the projector {llama_gguf}: .+"):
        mtmd.LlamaProjector(llama, llama_gguf, n_threads=1)


def test_a_missing_file_is_named(llama: LlamaModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.gguf does not exist"):
        mtmd.LlamaProjector(llama, tmp_path / "no.gguf", n_threads=1)
