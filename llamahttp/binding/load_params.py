"""Parameters of a load: a configuration as the llama_model_params that libllama takes, and the memory they point to."""

from __future__ import annotations

import ctypes as c
import os
import struct
from typing import Any

from ..config import LoadConfig
from ..errors import StartupError
from .functions import CONSTANTS
from .structs import KVOverride, ModelParams, TensorBufferOverride

LOAD_MODES = {
    "auto": "AUTO",
    "none": "NONE",
    "mmap": "MMAP",
    "mlock": "MLOCK",
    "mmap+mlock": "MMAP_MLOCK",
    "dio": "DIRECT_IO",
}
"""Names in CONSTANTS, without LLAMA_LOAD_MODE_."""


class LoadParams:
    """`struct` points into this object, which must live until the load has returned.

    Raises StartupError for devices and buffers that do not exist here.
    """

    def __init__(self, lib: Any, config: LoadConfig) -> None:
        self._lib = lib
        self._kept: list[Any] = []
        params: ModelParams = lib.llama_model_default_params()
        params.load_mode = CONSTANTS[f"LLAMA_LOAD_MODE_{LOAD_MODES[config.mode]}"]
        params.lazy_mode = CONSTANTS[f"LLAMA_LAZY_MODE_{config.lazy.upper()}"]
        params.split_mode = CONSTANTS[f"LLAMA_SPLIT_MODE_{config.split_mode.upper()}"]
        params.main_gpu = config.main_gpu
        params.check_tensors = config.check_tensors
        params.use_extra_bufts = config.repack
        params.no_host = config.no_host
        if config.devices is not None:
            params.devices = self._keep(self._devices(config.devices))
        if config.tensor_split:
            params.tensor_split = self._keep(self._shares(config.tensor_split))
        if config.tensor_buffers:
            params.tensor_buft_overrides = self._keep(self._buffers(config.tensor_buffers))
        if config.overrides:
            params.kv_overrides = self._keep(_overrides(config.overrides))
        self.struct = params

    def _keep(self, array: Any) -> int:
        self._kept.append(array)
        return c.addressof(array)

    def _devices(self, names: tuple[str, ...]) -> Any:
        """An array that ends with NULL."""
        lib = self._lib
        known = {lib.ggml_backend_dev_name(device).decode(): device for device in self._all_devices()}
        cpu = CONSTANTS["GGML_BACKEND_DEVICE_TYPE_CPU"]
        usable = {name: device for name, device in known.items() if lib.ggml_backend_dev_type(device) != cpu}
        for name in names:
            if name not in usable:
                raise StartupError(f"--device: there is no device {name!r}; {_choice(usable)}")
        return (c.c_void_p * (len(names) + 1))(*(usable[name] for name in names))

    def _all_devices(self) -> list[int]:
        lib = self._lib
        return [lib.ggml_backend_dev_get(i) for i in range(lib.ggml_backend_dev_count())]

    def _shares(self, shares: tuple[float, ...]) -> Any:
        n = self._lib.llama_max_devices()
        if len(shares) > n:
            raise StartupError(f"--tensor-split: {len(shares)} shares are more than the {n} devices that there may be")
        return (c.c_float * n)(*shares)

    def _buffers(self, overrides: tuple[tuple[str, str], ...]) -> Any:
        """An array that ends with a pattern of NULL."""
        lib = self._lib
        buffers = [lib.ggml_backend_dev_buffer_type(device) for device in self._all_devices()]
        known = {lib.ggml_backend_buft_name(buffer).decode(): buffer for buffer in buffers if buffer}
        array = (TensorBufferOverride * (len(overrides) + 1))()
        for entry, (pattern, name) in zip(array, overrides, strict=False):
            if name not in known:
                raise StartupError(f"--override-tensor: there is no buffer type {name!r}; {_choice(known)}")
            entry.pattern, entry.buft = os.fsencode(pattern), known[name]
        return array


def _choice(names: dict[str, int]) -> str:
    return f"there are {', '.join(names)}" if names else "there is none"


def _overrides(overrides: tuple[tuple[str, int | float | bool | str], ...]) -> Any:
    """An array that ends with an empty key."""
    array = (KVOverride * (len(overrides) + 1))()
    for entry, (key, value) in zip(array, overrides, strict=False):
        kind, data = _packed(value)
        entry.tag, entry.key = CONSTANTS[f"LLAMA_KV_OVERRIDE_TYPE_{kind}"], key.encode()
        c.memmove(c.addressof(entry) + KVOverride.val_i64.offset, data, len(data))
    return array


def _packed(value: int | float | bool | str) -> tuple[str, bytes]:
    match value:
        case bool():
            return "BOOL", struct.pack("?", value)
        case int():
            return "INT", struct.pack("q", value)
        case float():
            return "FLOAT", struct.pack("d", value)
        case str():
            return "STR", value.encode() + b"\0"
