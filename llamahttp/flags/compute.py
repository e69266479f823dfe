"""How a context computes: attention, positions, and what its cache holds."""

from __future__ import annotations

from collections.abc import Callable

from .row import Flag, Switch, Value, ignored
from .values import FLOAT32_MAX, choice, integer, number, on_off_auto, real

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

TINY = 1e-30
"""Least scale: what is smaller is 0 in 32 bits, once it is divided by."""


def _number(name: str, field: str, parse: Callable[[str], object], variable: str, help: str) -> Value:
    return Value(
        names=(name,),
        target=f"engine.compute.{field}",
        metavar="N",
        parse=parse,
        env=f"LLAMA_ARG_{variable}",
        help=help,
    )


def _cache_type(letter: str) -> Value:
    return Value(
        names=(f"-ct{letter}", f"--cache-type-{letter}"),
        target=f"engine.compute.type_{letter}",
        metavar="TYPE",
        parse=choice(*CACHE_TYPES),
        env=f"LLAMA_ARG_CACHE_TYPE_{letter.upper()}",
        help=f"type of the cache's {letter.upper()}: {', '.join(CACHE_TYPES)} (default: {{}})",
    )


def rope_scale(value: str) -> float:
    """As many times as long a context."""
    return 1 / number(TINY, 1 / TINY)(value)


COMPUTE: tuple[Flag, ...] = (
    Value(
        names=("-fa", "--flash-attn"),
        target="engine.compute.flash_attn",
        metavar="[on|off|auto]",
        parse=on_off_auto,
        env="LLAMA_ARG_FLASH_ATTN",
        help="flash attention (default: auto)",
    ),
    ignored(
        "--perf",
        "the server measures by itself; see timings and --metrics",
        env="LLAMA_ARG_PERF",
        off="--no-perf",
        harmless=("off",),
    ),
    Value(
        names=("--rope-scaling",),
        target="engine.compute.rope_scaling",
        metavar="{none,linear,yarn}",
        parse=choice("none", "linear", "yarn"),
        env="LLAMA_ARG_ROPE_SCALING_TYPE",
        help="how positions beyond the trained context are scaled (default: what the model says)",
    ),
    _number("--rope-scale", "rope_freq_scale", rope_scale, "ROPE_SCALE", "times that the context is made longer"),
    _number(
        "--rope-freq-base",
        "rope_freq_base",
        number(0, FLOAT32_MAX),
        "ROPE_FREQ_BASE",
        "base frequency of positions (default: what the model says)",
    ),
    _number(
        "--rope-freq-scale",
        "rope_freq_scale",
        number(0, FLOAT32_MAX),
        "ROPE_FREQ_SCALE",
        "the inverse of --rope-scale (default: what the model says)",
    ),
    _number(
        "--yarn-orig-ctx",
        "yarn_orig_ctx",
        integer(0),
        "YARN_ORIG_CTX",
        "YaRN: context that the model was trained with (default: {} = what the model says)",
    ),
    _number(
        "--yarn-ext-factor",
        "yarn_ext_factor",
        real,
        "YARN_EXT_FACTOR",
        "YaRN: mix of extrapolation (default: {:g} = what the model says, 0 = interpolation only)",
    ),
    _number(
        "--yarn-attn-factor",
        "yarn_attn_factor",
        real,
        "YARN_ATTN_FACTOR",
        "YaRN: factor of the attention's magnitude (default: {:g})",
    ),
    _number(
        "--yarn-beta-slow",
        "yarn_beta_slow",
        real,
        "YARN_BETA_SLOW",
        "YaRN: high correction dimension (default: {:g})",
    ),
    _number(
        "--yarn-beta-fast",
        "yarn_beta_fast",
        real,
        "YARN_BETA_FAST",
        "YaRN: low correction dimension (default: {:g})",
    ),
    Switch(
        names=("-kvo", "--kv-offload"),
        off=("-nkvo", "--no-kv-offload"),
        target="engine.compute.kv_offload",
        env="LLAMA_ARG_KV_OFFLOAD",
        help="keep the KV cache on the device (default: {})",
    ),
    _cache_type("k"),
    _cache_type("v"),
    ignored(
        "-dt --defrag-thold",
        "libllama's cache does not fragment any more",
        "N",
        env="LLAMA_ARG_DEFRAG_THOLD",
        parse=real,
    ),
    Switch(
        names=("--op-offload",),
        off=("--no-op-offload",),
        target="engine.compute.op_offload",
        help="compute large operations on tensors of the host on the device (default: {})",
    ),
)
