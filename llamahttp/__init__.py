"""llama.cpp's llama-server in Python: libllama through ctypes, aiohttp in front, one process.

For programs of one's own: `Engine`, `EngineConfig`, `SamplingParams`, `CompletionTask`. They are imported when first
asked for, so that the command line answers `--help` without loading numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .config import EngineConfig as EngineConfig
    from .engine import Engine as Engine
    from .task import CompletionTask as CompletionTask
    from .task import SamplingParams as SamplingParams

__all__ = ["CompletionTask", "Engine", "EngineConfig", "SamplingParams", "__version__"]

_HOMES = {"CompletionTask": "task", "Engine": "engine", "EngineConfig": "config", "SamplingParams": "task"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
