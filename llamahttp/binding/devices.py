"""Devices: what libllama can compute on."""

from __future__ import annotations

import ctypes as c
from collections.abc import Collection

from . import library
from .functions import CONSTANTS


def devices() -> list[tuple[str, str, int]]:
    """Devices that libllama can compute on: (name, description, `enum ggml_backend_dev_type`)."""
    lib = library.load()
    handles = [lib.ggml_backend_dev_get(i) for i in range(lib.ggml_backend_dev_count())]
    return [
        (
            lib.ggml_backend_dev_name(handle).decode(),
            lib.ggml_backend_dev_description(handle).decode(),
            lib.ggml_backend_dev_type(handle),
        )
        for handle in handles
    ]


def memory(index: int) -> tuple[int, int]:
    """Bytes of the device `index` of `devices()`: (free, total)."""
    lib = library.load()
    free, total = c.c_size_t(), c.c_size_t()
    lib.ggml_backend_dev_memory(lib.ggml_backend_dev_get(index), c.byref(free), c.byref(total))
    return free.value, total.value


def free_bytes(names: Collection[str] | None) -> list[int]:
    """Free memory of each of the GPUs, or of those of these names."""
    found = devices()
    return [
        memory(i)[0]
        for i, (name, _, kind) in enumerate(found)
        if kind in _gpu_kinds() and (names is None or name in names)
    ]


def listed() -> str:
    """The devices besides the CPU, and their memory, a line each, as `--list-devices` shows them."""
    lines = ["Available devices:"]
    for i, (name, description, kind) in enumerate(devices()):
        if kind != CONSTANTS["GGML_BACKEND_DEVICE_TYPE_CPU"]:
            free, total = memory(i)
            lines.append(f"  {name}: {description} ({total >> 20} MiB, {free >> 20} MiB free)")
    return "\n".join(lines if len(lines) > 1 else [*lines, "  (none)"]) + "\n"


def prepare_numa(strategy: str | None) -> None:
    """Let ggml place threads on a machine with several memory nodes. Once a process; before a model is loaded."""
    if strategy is not None:
        library.load().llama_numa_init(CONSTANTS[f"GGML_NUMA_STRATEGY_{strategy.upper()}"])


def gpus() -> list[str]:
    """The devices that layers can be offloaded to, in words."""
    return [f"{name} ({description})" for name, description, kind in devices() if kind in _gpu_kinds()]


def _gpu_kinds() -> tuple[int, int]:
    return CONSTANTS["GGML_BACKEND_DEVICE_TYPE_GPU"], CONSTANTS["GGML_BACKEND_DEVICE_TYPE_IGPU"]


def describe_compute(n_gpu_layers: int) -> str:
    """What a model with so many layers on the GPU is computed by, in words."""
    found = gpus()
    if found:
        return ", ".join(found) if n_gpu_layers != 0 else "CPU, with no layer on the GPU"
    return "CPU, since this build for CUDA finds no GPU here" if library.load().manifest.get("cuda") else "CPU"
