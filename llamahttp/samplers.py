"""Samplers: the names and codes by which users list the stages of a sampling chain. Pure."""

from __future__ import annotations

from collections.abc import Iterable

CODES = {
    "penalties": "e",
    "dry": "d",
    "top_n_sigma": "s",
    "top_k": "k",
    "typ_p": "y",
    "top_p": "p",
    "min_p": "m",
    "xtc": "x",
    "temperature": "t",
    "infill": "i",
    "adaptive_p": "a",
}
"""The one-character code of every sampler, by its name; the first nine in the order of llama-server's default chain."""

SAMPLERS = tuple(CODES)[:9]
"""The default chain."""

MAX_SAMPLERS = 32
"""Of one chain."""

ONCE = ("penalties", "dry")
"""These may be listed once: what they do to a logit multiplies, up to infinity."""

_NAMES = {
    **{alias: name for name in CODES for alias in (name, name.replace("_", "-"), name.replace("_", ""))},
    "nucleus": "top_p",
    "temp": "temperature",
    "typ": "typ_p",
}
_BY_CODE = {code: name for name, code in CODES.items()}


def from_names(names: Iterable[str]) -> tuple[str, ...]:
    """Samplers by any of their names, in any case. Raises ValueError that tells the first unknown one."""
    return _checked([_named(name) for name in names])


def from_codes(codes: str) -> tuple[str, ...]:
    """Samplers by their codes, such as `edskypmxt`. Raises ValueError that tells the first unknown one."""
    unknown = [code for code in codes if code not in _BY_CODE]
    if unknown:
        raise ValueError(f"there is no sampler with the code {unknown[0]!r}; the codes are {''.join(_BY_CODE)}")
    return _checked([_BY_CODE[code] for code in codes])


def _named(name: str) -> str:
    try:
        return _NAMES[name.strip().lower()]
    except KeyError:
        raise ValueError(f"there is no sampler {name[:50]!r}; there are {', '.join(CODES)}") from None


def _checked(samplers: list[str]) -> tuple[str, ...]:
    if len(samplers) > MAX_SAMPLERS:
        raise ValueError(f"at most {MAX_SAMPLERS} samplers may be listed, but got {len(samplers)}")
    twice = [name for name in ONCE if samplers.count(name) > 1]
    if twice:
        raise ValueError(f"the sampler {twice[0]} may be listed once only")
    return tuple(samplers)
