"""The table of flags: every group, in the order of `--help`, whose headings are llama-server's."""

from __future__ import annotations

from .agents import AGENTS
from .chat import CHAT
from .common import COMMON
from .compute import COMPUTE
from .cpu import CPU
from .download import DOWNLOAD
from .embeddings import EMBEDDINGS
from .http import HTTP
from .load import LOAD
from .logging import LOGGING
from .media import MEDIA
from .presets import PRESETS
from .row import Flag
from .sampling import SAMPLING
from .slots import SLOTS
from .speculative import SPECULATIVE

GROUPS: dict[str, tuple[Flag, ...]] = {
    "common": COMMON + DOWNLOAD + CPU + COMPUTE + LOAD + LOGGING,
    "sampling": SAMPLING,
    "speculative": SPECULATIVE,
    "server": HTTP + SLOTS + CHAT + EMBEDDINGS + MEDIA + AGENTS + PRESETS,
}
FLAGS: tuple[Flag, ...] = tuple(flag for group in GROUPS.values() for flag in group)
BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in flag.all_names}
