"""Prompt log: each prompt in a file of its own, for whoever wants to see what the model reads (`--log-prompts-dir`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)


def write_prompts(folder: Path, texts: Iterable[str]) -> None:
    """Each text as a file that is named by Unix time in milliseconds. What cannot be written is only logged."""
    stamp = time.time_ns() // 1_000_000
    try:
        for text in texts:
            while (path := folder / f"{stamp:012d}.txt").exists():
                stamp += 1
            path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        log.error("--log-prompts-dir: cannot write to %s: %s", folder, error.strerror)
