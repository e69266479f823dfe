"""Fragments: the parts that answers of several dialects have in common. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..task import CacheUse, PromptProgress, SamplingParams, Timings
from .parameters import COMPLETION_TABLE

if TYPE_CHECKING:
    from .answer import Answer


def timings(cost: Timings) -> dict[str, object]:
    """The `timings` object. Speeds of the generation count from the first token, so one token has none."""
    n_intervals = cost.n_predicted - 1
    return {
        "cache_n": cost.n_cached,
        "prompt_n": cost.n_prompt,
        "prompt_ms": cost.prompt_ms,
        "prompt_per_token_ms": _ratio(cost.prompt_ms, cost.n_prompt),
        "prompt_per_second": _ratio(1e3 * cost.n_prompt, cost.prompt_ms),
        "predicted_n": cost.n_predicted,
        "predicted_ms": cost.predicted_ms,
        "predicted_per_token_ms": _ratio(cost.predicted_ms, n_intervals),
        "predicted_per_second": _ratio(1e3 * n_intervals, cost.predicted_ms),
    }


def cost(cost: Timings) -> dict[str, object]:
    """What an answer has cost: `timings`, in which every member is a number as in llama-server, and beside them
    where cached tokens came from."""
    return {"timings": timings(cost), "cache": cache_use(cost.cache)}


def cache_use(cache: CacheUse) -> dict[str, object]:
    """Prompt tokens that were not computed, by the tier that had them, and why they were not more."""
    return {"resident": cache.resident, "ram": cache.ram, "disk": cache.disk, "miss": cache.miss.value}


def _ratio(part: float, whole: float) -> float:
    return part / whole if part > 0 and whole > 0 else 0.0


def prompt_progress(progress: PromptProgress) -> dict[str, int]:
    return {
        "total": progress.n_prompt,
        "cache": progress.n_cached,
        "processed": progress.n_done,
        "time_ms": int(progress.ms),
    }


def cost_so_far(progress: PromptProgress) -> dict[str, object]:
    """`timings` before the first token."""
    n_computed = progress.n_done - progress.n_cached
    return {"timings": timings(Timings(progress.n_cached, n_computed, progress.ms if n_computed else 0.0, 0, 0.0))}


def usage(answers: Iterable[Answer]) -> dict[str, object]:
    """Tokens of all `answers` together; a prompt with several answers counts once."""
    n_predicted = 0
    prompts: dict[int, tuple[int, int]] = {}
    for answer in answers:
        n_predicted += answer.n_predicted
        if answer.timings is not None:
            prompts.setdefault(answer.id_prompt, (answer.n_prompt, answer.timings.n_cached))
    n_prompt = sum(n for n, _ in prompts.values())
    return {
        "completion_tokens": n_predicted,
        "prompt_tokens": n_prompt,
        "total_tokens": n_predicted + n_prompt,
        "prompt_tokens_details": {"cached_tokens": sum(n_cached for _, n_cached in prompts.values())},
    }


def generation_settings(
    values: Mapping[str, Any], sampling: SamplingParams, *, brief: bool = False, eog: Iterable[int] = ()
) -> dict[str, object]:
    """Every parameter as it was used. `brief` leaves out the long ones, as `/props` and `/slots` do; `eog` are the
    tokens that `ignore_eos` forbids."""
    settings: dict[str, object] = {"seed": sampling.seed}
    settings.update((name, values[name]) for name in SETTINGS)
    settings["max_tokens"] = values["n_predict"]
    if not brief:
        settings["dry_sequence_breakers"] = values["dry_sequence_breakers"]
        settings["stop"] = values["stop"]
        biases = [*sampling.logit_bias, *((token, -math.inf) for token in sorted(eog) if sampling.ignore_eos)]
        settings["logit_bias"] = [
            {"bias": bias if math.isfinite(bias) else None, "token": token} for token, bias in biases
        ]
        settings.update((name, values[name]) for name in _CONSTRAINTS)
    return settings | {
        "chat_format": "Content-only",
        "reasoning_in_content": False,
        "generation_prompt": "",
        "speculative.types": "none",
    }


_CONSTRAINTS = ("grammar", "grammar_lazy", "grammar_triggers", "preserved_tokens")
SETTINGS = (
    "temperature",
    "dynatemp_range",
    "dynatemp_exponent",
    "top_k",
    "top_p",
    "min_p",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "typical_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "adaptive_target",
    "adaptive_decay",
    "n_predict",
    "n_keep",
    "n_discard",
    "ignore_eos",
    "stream",
    "n_probs",
    "min_keep",
    "timings_per_token",
    "post_sampling_probs",
    "backend_sampling",
    "lora",
    "reasoning_format",
    "samplers",
)
"""Parameters that are shown of a request."""


def default_settings(defaults: Mapping[str, Any]) -> dict[str, object]:
    """The settings of a request that sets none, where the server's own `defaults` go before those of the fields."""
    values = COMPLETION_TABLE.decode({}, defaults)
    return generation_settings(values, SamplingParams(seed=values["seed"]), brief=True)
