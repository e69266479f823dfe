"""Machine: what processors and memory were used for, read from /proc; None where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def busy_cpu_s() -> float | None:
    """Processor seconds that all cores together were not idle, since boot; time stolen by a host included."""
    try:
        first = (PROC / "stat").read_text().partition("\n")[0].split()
    except OSError:
        return None
    # cpu user nice system idle iowait irq softirq steal guest guest_nice; guest time is part of user time
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in first[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def session_stats(id_session: int) -> Iterator[list[str]]:
    """The fields of /proc/PID/stat behind the name, for every process of the session."""
    if not (PROC / "self/stat").exists():
        return
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name stands in parentheses and may itself hold spaces and parentheses.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[3]) == id_session:
            yield fields


def session_cpu_s(id_session: int) -> float | None:
    """Processor seconds used so far by the live processes of the session."""
    ticks = [int(fields[11]) + int(fields[12]) for fields in session_stats(id_session)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def session_rss_bytes(id_session: int) -> int | None:
    """Resident memory of the live processes of the session."""
    pages = [int(fields[21]) for fields in session_stats(id_session)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") if pages else None
