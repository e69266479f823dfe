"""Number: the limits of numbers, as the compiler can hold them. Pure.

It reads a limit as a double, compares whole numbers as 64 bits, and all others by the digits that the double is printed
with. A limit that is not the same in all three would let a number through that is beyond it; and one of 1e300 cannot be
held. So a limit moves inwards, to the next number that is the same: the grammar may hold less than the schema allows.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from .place import SchemaError, child, shown

LARGEST = 2**63 - 1
"""No number with a limit is further from zero."""
EXACT = 2**53
"""Whole numbers up to here are exact as doubles."""
OPEN_UP_TO = 10**17
"""A least number that is larger needs a largest number beside it, as the compiler counts digits in 64 bits."""
LOWEST = frozenset({"minimum", "exclusiveMinimum"})
HIGHEST = frozenset({"maximum", "exclusiveMaximum"})


def put_limits(found: dict[str, Any], at: str) -> None:
    """Let the limits of numbers be such as the compiler can hold. Raises SchemaError where there are none."""
    for name in found.keys() & (LOWEST | HIGHEST):
        held = least_held if name in LOWEST else largest_held
        limit = held(found[name], is_exclusive=name.startswith("exclusive"))
        if limit is None:
            raise SchemaError(
                child(at, name), f"only numbers of 64 bits can be enforced, but it is {shown(found[name])}"
            )
        found[name] = limit
    limits = {name: found[name] for name in LOWEST | HIGHEST if name in found}
    if limits and not limits.keys() & HIGHEST and max(limits.values()) > OPEN_UP_TO:
        found["maximum"] = largest_held(LARGEST)
    if limits and not limits.keys() & LOWEST and min(limits.values()) < -OPEN_UP_TO:
        found["minimum"] = least_held(-LARGEST)


def least_held(limit: float, *, is_exclusive: bool = False) -> float | None:
    """The least number that is held, of those from `limit` on; None if there is none."""
    largest = largest_held(-limit, is_exclusive=is_exclusive)
    return None if largest is None else -largest


def largest_held(limit: float, *, is_exclusive: bool = False) -> float | None:
    """The largest number that is held, of those up to `limit`; None if there is none. An exclusive one moves where the
    next whole number below is no double, since the compiler would count down to it."""
    if limit < -LARGEST:
        return None
    if abs(limit) <= EXACT:
        return limit
    held = float(min(limit, LARGEST))
    while int(held) > limit or Decimal(repr(held)) > limit or held > LARGEST or (is_exclusive and int(held) == limit):
        held = math.nextafter(held, -math.inf)
    return int(held) if held >= -LARGEST else None
