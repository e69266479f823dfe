"""Devices: what libllama can compute on."""

from __future__ import annotations

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


def gpus() -> list[str]:
    """The devices that layers can be offloaded to, in words."""
    kinds = (CONSTANTS["GGML_BACKEND_DEVICE_TYPE_GPU"], CONSTANTS["GGML_BACKEND_DEVICE_TYPE_IGPU"])
    return [f"{name} ({description})" for name, description, kind in devices() if kind in kinds]


def describe_compute(n_gpu_layers: int) -> str:
    """What a model with so many layers on the GPU is computed by, in words."""
    found = gpus()
    if found:
        return ", ".join(found) if n_gpu_layers != 0 else "CPU, with no layer on the GPU"
    return "CPU, since this build for CUDA finds no GPU here" if library.load().manifest.get("cuda") else "CPU"
