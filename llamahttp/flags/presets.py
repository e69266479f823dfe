"""Models of Hugging Face by name, each with the settings that suit it."""

from __future__ import annotations

from typing import Any

from .row import Flag, Preset, refused

_SPECULATIVE = "there is no speculative decoding yet; the same model without it is --fim-qwen-7b-default"


def _preset(name: str, help: str, repo: str, file: str = "", **settings: Any) -> Preset:
    """Settings are fields of the engine, or of what `parts` names."""
    values: dict[str, object] = {"source.repo": f"ggml-org/{repo}", **({"source.file": file} if file else {})}
    values |= {name.replace("__", "."): value for name, value in settings.items()}
    return Preset(names=(name,), target="", help=f"{help} (downloads it; a preset of several settings)", values=values)


def _fim(name: str, help: str, repo: str) -> Preset:
    return _preset(
        name,
        help,
        f"{repo}-Q8_0-GGUF",
        f"{repo.lower()}-q8_0.gguf",
        port=8012,
        engine__n_batch=1024,
        engine__n_ubatch=1024,
        n_cache_reuse=256,
    )


def _gpt_oss(size: str, file: str = "") -> Preset:
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.01}
    return _preset(
        f"--gpt-oss-{size}-default",
        f"gpt-oss {size.upper()}",
        f"gpt-oss-{size}-GGUF",
        file,
        port=8013,
        engine__n_batch=32768,
        engine__n_ubatch=2048,
        engine__n_parallel=2,
        **{"engine__n_ctx": 2 * 131072},
        **{f"sampling__{field}": value for field, value in sampling.items()},
    )


PRESETS: tuple[Flag, ...] = (
    _preset(
        "--embd-gemma-default",
        "EmbeddingGemma",
        "embeddinggemma-300M-qat-q4_0-GGUF",
        "embeddinggemma-300M-qat-Q4_0.gguf",
        port=8011,
        engine__n_batch=2048,
        engine__n_ubatch=2048,
        engine__n_parallel=32,
        engine__n_ctx=32 * 2048,
        engine__embeddings=True,
    ),
    _fim("--fim-qwen-1.5b-default", "Qwen 2.5 Coder 1.5B", "Qwen2.5-Coder-1.5B"),
    _fim("--fim-qwen-3b-default", "Qwen 2.5 Coder 3B", "Qwen2.5-Coder-3B"),
    _fim("--fim-qwen-7b-default", "Qwen 2.5 Coder 7B", "Qwen2.5-Coder-7B"),
    refused("--fim-qwen-7b-spec", _SPECULATIVE),
    refused("--fim-qwen-14b-spec", _SPECULATIVE),
    _fim("--fim-qwen-30b-default", "Qwen 3 Coder 30B A3B Instruct", "Qwen3-Coder-30B-A3B-Instruct"),
    _gpt_oss("20b", "gpt-oss-20b-mxfp4.gguf"),
    _gpt_oss("120b"),
    _preset("--vision-gemma-4b-default", "Gemma 3 4B, text only", "gemma-3-4b-it-qat-GGUF", port=8014),
    _preset("--vision-gemma-12b-default", "Gemma 3 12B, text only", "gemma-3-12b-it-qat-GGUF", port=8014),
)
