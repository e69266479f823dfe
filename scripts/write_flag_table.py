"""Write docs/flags.md, and what README.md says of flags between its markers. Run from the repository: no arguments."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from llamahttp.flags import BY_NAME, FLAGS, Effective, Ignored, Refused, markdown_table

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "tests" / "reference_flags.json"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "flags.md"
BETWEEN = re.compile(r"(?<=<!-- flags -->\n).*?(?=<!-- /flags -->)", re.DOTALL)


def counts() -> str:
    """How many of llama-server's flags are what here, in words."""
    theirs = [BY_NAME[entry["names"][0]] for entry in json.loads(REFERENCE.read_text(encoding="utf-8"))]
    n_effective, n_ignored, n_refused = (
        sum(isinstance(flag, kind) for flag in theirs) for kind in (Effective, Ignored, Refused)
    )
    n_own = len(set(FLAGS) - set(theirs))
    return (
        f"Of llama-server's {len(theirs)} flags {n_effective} are effective, {n_ignored} are taken without an effect "
        f"(the start says why), and {n_refused} ask for what is not built or is gone, and are refused; {n_own} more "
        "are llamahttp's own."
    )


def page() -> str:
    """docs/flags.md."""
    return (
        "# Flags\n\nWritten by `scripts/write_flag_table.py` from the table that `llamahttp/flags` parses with; "
        "`llamahttp --help` shows the same.\n\n"
        f"{counts()}\n\n"
        "A flag wins over its variable; `LLAMA_ARG_NO_X` says no to a flag that has an opposite, whatever its value. "
        "Long names may have `_` for `-`, and a value may follow as `--name=value`.\n\n"
        f"{markdown_table()}"
    )


def summary() -> str:
    """What stands in README.md."""
    return wrapped(f"{counts()} [docs/flags.md](docs/flags.md) lists all of them, and so does `llamahttp --help`.")


def wrapped(text: str) -> str:
    """A paragraph in lines of 120 characters at most."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(BETWEEN.sub(lambda _: summary(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
