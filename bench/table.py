"""Tables for a terminal: numbers, intervals, aligned columns."""

from __future__ import annotations

from bench.figures import Spread


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace(",", " ")


def interval(spread: Spread, digits: int) -> str:
    return f"{number(spread.low, digits)} .. {number(spread.high, digits)}"


def table(rows: list[list[str]]) -> str:
    """Columns as wide as needed: the first to the left, the others to the right, a rule under the heads."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])
