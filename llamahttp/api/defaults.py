"""Defaults: the sampling parameters that a model's file recommends (`general.sampling.*`). Pure."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from .field import Kind, read
from .parameters import COMPLETION_TABLE

log = logging.getLogger(__name__)

PREFIX = "general.sampling."

FIELDS = {
    "sequence": "samplers",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "temp": "temperature",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}
"""Request parameters by their keys in the file."""


def from_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Values of request parameters by name. What makes no sense is left out, with a warning: nobody can be asked."""
    values: dict[str, Any] = {}
    for key, name in FIELDS.items():
        text = metadata.get(PREFIX + key)
        if text is None:
            continue
        try:
            values[name] = _value(name, text)
        except (ValueError, InvalidRequest) as error:
            log.warning("%s%s of the model's file is ignored: %s", PREFIX, key, error)
    return values


def _value(name: str, text: str) -> Any:
    field = COMPLETION_TABLE.fields[name]
    if field.kind is Kind.SAMPLERS:
        return read(field, name, [sampler for sampler in text.split(";") if sampler])
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    if name == "repeat_penalty" and number <= 0:
        raise ValueError(f"{text} is not greater than 0")
    return read(field, name, number)
