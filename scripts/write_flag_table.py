"""Write the table of flags into README.md, between its two markers. Run from the repository: no arguments."""

from __future__ import annotations

import re
from pathlib import Path

from llamahttp.flags import markdown_table

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    between = re.compile(r"(?<=<!-- flags -->\n).*?(?=<!-- /flags -->)", re.DOTALL)
    README.write_text(between.sub(lambda _: markdown_table(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
