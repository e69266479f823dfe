"""Files of settings that llama.cpp's programs share: the system's, then the user's, as llama-server reads them.

    ctx-size = 8192     # a flag without its dashes, or the name of its variable
    no-warmup = true

    [some/model]        ; a section for a model of a router of several, which is passed over
    port = 8081

Of the sections `*` and `default` are for all models, and `default` wins; what comes before the first belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import StartupError

SYSTEM = Path("/etc/llama.cpp/config.ini")
NAME = "llama.cpp/config.ini"
SECTIONS = ("*", "default")

_SECTION = re.compile(r"\[[ \t]*([^\]]*?)[ \t]*\][ \t]*(?:[;#].*)?")
_ENTRY = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*=[ \t]*([^;#]*?)[ \t]*(?:[;#].*)?", re.ASCII)
_NOTHING = re.compile(r"[ \t]*(?:[;#].*)?")


class Entry(NamedTuple):
    """One line: what is set, to what, and where."""

    key: str
    value: str
    place: str


def paths(environ: Mapping[str, str]) -> list[Path]:
    """Where the files may be, those that win last."""
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    return [SYSTEM, *([Path(home, NAME)] if home else [])]


def entries(path: Path) -> list[Entry]:
    """What a file sets for any model; nothing where there is none. Raises StartupError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartupError(f"cannot read {path}: {reason}") from None
    found = list(_read(text, path))
    return [entry for wanted in SECTIONS for section, entry in found if section == wanted and entry.key != "version"]


def _read(text: str, path: Path) -> Iterator[tuple[str, Entry]]:
    section = "default"
    for number, line in enumerate(text.splitlines(), 1):
        if header := _SECTION.fullmatch(line):
            section = header[1]
        elif entry := _ENTRY.fullmatch(line):
            yield section, Entry(entry[1], entry[2], f"{path}:{number}")
        elif not _NOTHING.fullmatch(line):
            raise StartupError(f"{path}:{number}: {line.strip()!r} is neither a [section] nor `name = value`")
