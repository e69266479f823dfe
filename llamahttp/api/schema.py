"""Schema: what the parameters of a request decode to, and the rules that go over several of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InvalidRequest
from ..task import SamplingParams
from .field import Bias, Table, out_of_range, wrong_type

SAMPLING_NAMES = tuple(
    field.name for field in fields(SamplingParams) if field.name not in ("logit_bias", "n_post_probs")
)
"""Parameters that go to the engine as they are."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A decoded request of any route that generates text."""

    sampling: SamplingParams
    """Without `logit_bias`, whose texts have yet to become tokens."""
    logit_bias: tuple[Bias, ...]
    stream: bool
    include_usage: bool
    n_predict: int
    n_cmpl: int
    n_probs: int
    """What the engine computes; `n_top` of them are shown."""
    n_top: int
    stop: tuple[str, ...]
    t_max_predict_ms: int
    cache_prompt: bool
    cache_salt: str
    n_cache_reuse: int
    id_slot: int
    priority: int
    n_keep: int
    n_discard: int
    lora: list[object]
    echo: bool
    return_tokens: bool
    return_progress: bool
    timings_per_token: bool
    sse_ping_interval: int
    response_fields: tuple[str, ...]
    values: Mapping[str, Any]
    """Every value of the table, for `generation_settings`."""


def completion_request(
    table: Table,
    body: Mapping[str, object],
    *,
    n_slots: int,
    n_predict: int = -1,
    defaults: Mapping[str, Any] = {},
) -> CompletionRequest:
    """Decode `body`. `n_slots` bounds `n`; `n_predict` is the server's own limit, -1 for none; `defaults` are the
    values that the server gives fields which the body leaves out."""
    values = table.decode(body, defaults)
    if not 1 <= values["n_cmpl"] <= n_slots:
        name = "n_cmpl" if body.get("n_cmpl") is not None else "n"
        raise out_of_range(name, 1, n_slots, values["n_cmpl"])
    if values["repeat_penalty"] <= 0:
        raise InvalidRequest(
            f"Field 'repeat_penalty': Value must be greater than 0, but got {values['repeat_penalty']:g}"
        )
    if values["dry_base"] < 1:
        values["dry_base"] = defaults.get("dry_base", table.fields["dry_base"].default)
    n_probs, n_top = _probabilities(values)
    values["n_predict"] = _least(values["n_predict"], n_predict)
    return CompletionRequest(
        sampling=_sampling(values, n_probs),
        logit_bias=values["logit_bias"],
        stream=values["stream"],
        include_usage=_include_usage(values["stream_options"]),
        n_predict=values["n_predict"],
        n_cmpl=values["n_cmpl"],
        n_probs=n_probs,
        n_top=n_top,
        stop=values["stop"],
        t_max_predict_ms=values["t_max_predict_ms"],
        cache_prompt=values["cache_prompt"],
        cache_salt=values["cache_salt"],
        n_cache_reuse=values["n_cache_reuse"],
        id_slot=values["id_slot"],
        priority=values["priority"],
        n_keep=values["n_keep"],
        n_discard=values["n_discard"],
        lora=values["lora"],
        echo=values["echo"],
        return_tokens=values["return_tokens"],
        return_progress=values["return_progress"],
        timings_per_token=values["timings_per_token"],
        sse_ping_interval=values["sse_ping_interval"],
        response_fields=values["response_fields"],
        values=values,
    )


def _sampling(values: Mapping[str, Any], n_probs: int) -> SamplingParams:
    parameters = {name: values[name] for name in SAMPLING_NAMES}
    parameters["seed"] &= 0xFFFFFFFF
    return SamplingParams(**parameters, n_post_probs=n_probs if values["post_sampling_probs"] else 0)


def _probabilities(values: Mapping[str, Any]) -> tuple[int, int]:
    """How many log probabilities to compute, and how many of them to show in `top_logprobs`.

    A chat asks with `logprobs: true`; without `top_logprobs` only the chosen token's own is shown.
    """
    if "top_logprobs" not in values:
        return values["n_probs"], values["n_probs"]
    n_top = values["top_logprobs"]
    if values["logprobs"]:
        return max(1, n_top or 0), n_top or 0
    if n_top is not None:
        raise InvalidRequest("top_logprobs requires logprobs to be set to true")
    return values["n_probs"], values["n_probs"]


def _include_usage(options: Mapping[str, object]) -> bool:
    value = options.get("include_usage")
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong_type("stream_options.include_usage", "boolean", value)
    return value


def _least(wanted: int, limit: int) -> int:
    """The smaller of two numbers of tokens of which -1 is infinite."""
    if wanted < 0 or limit < 0:
        return max(wanted, limit)
    return min(wanted, limit)
