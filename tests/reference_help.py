"""llama-server's flags, read from its `--help`; run as a program it writes them to `reference_flags.json`.

The file is what the tests compare with where llama-server is not built; where it is, they check the file too.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from llamahttp.binding import manifest

LIST = Path(__file__).parent / "reference_flags.json"
INDENT = " " * 40


@dataclass(frozen=True)
class ReferenceFlag:
    """A flag of llama-server as its help tells it."""

    group: str
    names: tuple[str, ...]
    metavar: str
    env: str
    default: str

    @property
    def off(self) -> tuple[str, ...]:
        """Those of the names that say no."""
        is_no = [name.lstrip("-").startswith("n") for name in self.names]
        is_switch = self.metavar == "" and any(name.startswith("--no-") for name in self.names) and not all(is_no)
        return tuple(name for name, no in zip(self.names, is_no, strict=True) if no and is_switch)


def program() -> Path:
    return manifest.directory() / "llama-server"


def read_help(text: str) -> Iterator[ReferenceFlag]:
    group, head, help = "", "", ""
    for line in [*text.splitlines(), "-----"]:
        if line.startswith("-") and head:
            yield _flag(group, head, help)
            head = ""
        if line.startswith("-----"):
            group = line.strip("- ").removesuffix(" params")
        elif line.startswith("-"):
            head, help = line[:40].rstrip() if line[38:40] == "  " else line, line[40:] if line[38:40] == "  " else ""
        else:
            help += " " + line.strip()


def _flag(group: str, head: str, help: str) -> ReferenceFlag:
    names, rest = [], head
    while found := re.match(r"(-[^\s,]+)(,\s+(?=-))?\s*", rest):
        names.append(found[1])
        rest = rest[found.end() :]
        if not found[2]:
            break
    env = re.search(r"\(env: (\w+)\)", help)
    default = re.search(r"\(default: (.*?)\)(?:\s|$|\[)", help) or re.search(r"default: (\d+)", help)
    value = re.split(r", (?!')| =|;? used| \(", default[1])[0] if default else ""
    return ReferenceFlag(group, tuple(names), rest.strip(), env[1] if env else "", value.strip())


def from_binary() -> list[ReferenceFlag]:
    done = subprocess.run([program(), "--help"], capture_output=True, text=True, timeout=60, check=True)
    return list(read_help(done.stdout))


def from_list() -> list[ReferenceFlag]:
    return [ReferenceFlag(**{**entry, "names": tuple(entry["names"])}) for entry in json.loads(LIST.read_text())]


def main() -> None:
    entries = ",\n".join(json.dumps(asdict(flag)) for flag in from_binary())
    LIST.write_text(f"[\n{entries}\n]\n")


if __name__ == "__main__":
    main()
