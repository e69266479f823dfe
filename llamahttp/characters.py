"""Characters: sets of code points, as ranges, for the terminals of grammars. Pure."""

from __future__ import annotations

MAX_CODE_POINT = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]
"""Code points, inclusive, in order and apart."""
ANY: Ranges = ((1, 0xD7FF), (0xE000, MAX_CODE_POINT))
"""Every character: without NUL, which no matcher of C strings sees, and the surrogates, which UTF-8 has not."""


def regex(ranges: Ranges) -> str:
    """A regular expression of one character."""
    if not ranges:
        return rf"/[^\x{{0}}-\x{{{MAX_CODE_POINT:X}}}]/"
    parts = [rf"\x{{{low:X}}}-\x{{{high:X}}}" for low, high in ranges]
    return f"/[{''.join(parts)}]/"


def without_nul(ranges: list[tuple[int, int]]) -> Ranges:
    """The characters of `ranges`, which may overlap or be empty."""
    parts = sorted(
        (max(low, first), min(high, last))
        for low, high in ranges
        for first, last in ANY
        if max(low, first) <= min(high, last)
    )
    merged: list[tuple[int, int]] = []
    for low, high in parts:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(ranges: list[tuple[int, int]]) -> Ranges:
    """The characters that are not in `ranges`."""
    rest: list[tuple[int, int]] = []
    begin = 1
    for low, high in (*without_nul(ranges), (MAX_CODE_POINT + 1, MAX_CODE_POINT + 1)):
        rest.append((begin, low - 1))
        begin = high + 1
    return without_nul(rest)
