"""The CPU: what a native build depends on, how many threads pay, and how much memory is left."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")


def fingerprint() -> str:
    """The CPU's feature names, sorted and hashed: 16 hex digits. `build_lib.sh` writes the same into the manifest."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    features = " ".join(sorted(set(found.group(1).split()))) if found else ""
    return hashlib.sha256(features.encode()).hexdigest()[:16]


def _cpuinfo() -> str:
    try:
        return CPUINFO.read_text()
    except OSError:
        return ""


def physical_cores() -> int:
    """Cores that this process may use, counting the hardware threads of one core once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return max(1, len({_siblings(cpu) for cpu in allowed}))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def available_bytes() -> int | None:
    """Memory that can still be allocated without swapping: the machine's, or less in a container. None if unknown."""
    limits = [_machine_available(), _cgroup_available()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _machine_available() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None


def _cgroup_available() -> int | None:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


if __name__ == "__main__":
    print(fingerprint())
