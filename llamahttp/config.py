"""Configuration: frozen values that the other parts take; `flags` fills them from argv and the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEMO_MODEL = Path(__file__).parent / "assets" / "demo.gguf"
"""The model served when none is named."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the engine needs to load a model. Names and defaults are llama-server's."""

    model: Path = DEMO_MODEL
    n_ctx: int = 0
    """Context cells in all; 0 takes the model's training context."""
    n_parallel: int = -1
    """Slots; -1 is four over one unified KV cache."""
    kv_unified: bool | None = None
    """One pool of cells for all slots; None decides as llama-server does: only with `n_parallel` -1."""
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int = -1
    """Compute threads when generating; -1 chooses."""
    n_threads_batch: int = -1
    """Compute threads for prompts; -1 is the same as `n_threads`."""
    n_gpu_layers: int = -1
    """Layers on the GPU; -1 is all that fit the devices present."""
    warmup: bool = True
    queue_size: int = 1024
    """Requests that may wait for a slot before further ones are refused."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What the HTTP side needs."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    host: str = "127.0.0.1"
    port: int = 8080
    alias: str | None = None
    """Model name shown to clients; None takes the file's name."""
    api_keys: frozenset[str] = frozenset()
    chat_template: str | None = None
    """Jinja source that replaces the model's own."""
    n_predict: int = -1
    """Default and upper bound of a request's `n_predict`; -1 is none."""
    max_body: int = 64 << 20
    """Bytes of a request body that are read before it is refused."""
