"""The table of flags: every group, in the order of `--help`."""

from __future__ import annotations

from .chat import CHAT
from .common import COMMON
from .embeddings import EMBEDDINGS
from .http import HTTP
from .logging import LOGGING
from .row import Flag
from .sampling import SAMPLING
from .slots import SLOTS

GROUPS: dict[str, tuple[Flag, ...]] = {
    "common": COMMON + LOGGING,
    "sampling": SAMPLING,
    "server": SLOTS + EMBEDDINGS + HTTP + CHAT,
}
FLAGS: tuple[Flag, ...] = tuple(flag for group in GROUPS.values() for flag in group)
BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in flag.all_names}
