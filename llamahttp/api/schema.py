"""Schema: what the parameters of a request decode to, and the rules that go over several of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InvalidRequest
from ..task import SamplingParams
from .answer_format import settle
from .field import Bias, Table, out_of_range
from .parameters import COMPLETION_TABLE

SAMPLING_NAMES = tuple(
    field.name for field in fields(SamplingParams) if field.name not in ("logit_bias", "n_post_probs")
)
"""Parameters that go to the engine as they are."""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Probabilities of tokens that a request is about."""

    n_computed: int = 0
    """Of the most likely tokens at each place; 0 is none, not even the chosen one's."""
    n_top: int = 0
    """Those of them that are shown."""
    is_shown: bool = False
    is_post: bool = False
    """After the sampling chain, not before."""


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
    """Answers to a prompt; the best of `n_tries`."""
    n_tries: int
    probs: Probabilities
    stop: tuple[str, ...]
    t_max_predict_ms: int
    n_indent: int
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


PLAIN_NAMES = tuple(field.name for field in fields(CompletionRequest) if field.name in COMPLETION_TABLE.fields)
"""Fields that are parameters as they are."""


def completion_request(
    table: Table,
    body: Mapping[str, object],
    *,
    n_slots: int,
    n_predict: int = -1,
    defaults: Mapping[str, Any] = {},
) -> CompletionRequest:
    """Decode `body`. `n_slots` bounds `n`; `n_predict` is the server's own where a request has no limit; `defaults`
    are the values that the server gives fields which the body leaves out."""
    values = table.decode(body, defaults)
    settle(table, values, body)
    n_tries = _tries(values, body, n_slots)
    if values["repeat_penalty"] <= 0:
        raise InvalidRequest(
            f"Field 'repeat_penalty': Value must be greater than 0, but got {values['repeat_penalty']:g}"
        )
    if values["dry_base"] < 1:
        values["dry_base"] = defaults.get("dry_base", table.fields["dry_base"].default)
    probs = _probabilities(values, body, is_ranked=n_tries > values["n_cmpl"])
    if values["n_predict"] == -1:
        values["n_predict"] = n_predict
    return CompletionRequest(
        sampling=_sampling(values, probs),
        include_usage=bool(values["stream_options"].get("include_usage")),
        n_tries=n_tries,
        probs=probs,
        values=values,
        **{name: values[name] for name in PLAIN_NAMES},
    )


def _tries(values: Mapping[str, Any], body: Mapping[str, object], n_slots: int) -> int:
    """Answers to generate for each prompt. Raises InvalidRequest for more than there are slots, or than make sense."""
    n = values["n_cmpl"]
    if not 1 <= n <= n_slots:
        raise out_of_range("n_cmpl" if body.get("n_cmpl") is not None else "n", 1, n_slots, n)
    best_of: int | None = values.get("best_of")
    if best_of is None:
        return int(n)
    if not n <= best_of <= n_slots:
        raise out_of_range("best_of", n, n_slots, best_of)
    if best_of > n and values["stream"]:
        raise InvalidRequest(f"Field 'best_of': {best_of} answers have to be whole to choose the best {n}: no stream")
    return best_of


def _sampling(values: Mapping[str, Any], probs: Probabilities) -> SamplingParams:
    parameters = {name: values[name] for name in SAMPLING_NAMES}
    parameters["seed"] &= 0xFFFFFFFF
    return SamplingParams(**parameters, n_post_probs=probs.n_computed if probs.is_post else 0)


def _probabilities(values: Mapping[str, Any], body: Mapping[str, object], *, is_ranked: bool) -> Probabilities:
    """What is computed, and what of it shown. A chat asks with `logprobs: true`, a text completion with `logprobs: N`,
    both for the chosen token's own at least; `is_ranked`: the answers' likelihood is needed for ourselves."""
    is_post = values["post_sampling_probs"]
    logprobs, n_top = values.get("logprobs"), values.get("top_logprobs")
    if n_top is not None and not logprobs:
        raise InvalidRequest("top_logprobs requires logprobs to be set to true")
    if logprobs is None or logprobs is False or body.get("logprobs") is False:  # 0 means something else
        n_top = values["n_probs"]
        return Probabilities(max(n_top, int(is_ranked)), n_top, n_top > 0, is_post)
    n_top = logprobs if logprobs is not True else n_top or 0
    return Probabilities(max(1, n_top), n_top, True, is_post)
