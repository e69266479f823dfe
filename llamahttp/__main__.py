"""The command `llamahttp`: flags, then the server; every fault is one line on stderr."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence

BEGAN = time.perf_counter()

from . import flags, log  # noqa: E402  (the clock starts first)
from .errors import StartupError  # noqa: E402
from .version import __version__  # noqa: E402


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command; returns the exit status: 0, 1 (cannot start) or 2 (wrong flags)."""
    try:
        return _run(sys.argv[1:] if argv is None else argv, environ)
    except flags.Show as show:
        print(flags.help_text() if str(show) == "help" else _version(), end="")
        return 0
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, flags.UsageError) else 1
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    config = flags.parse(argv, environ)
    log.setup(config.log)
    for name in flags.unknown_variables(environ):
        print(f"warning: {name} is set, but llamahttp has no such setting", file=sys.stderr)
    from .app import run  # after the flags: it brings numpy and aiohttp with it

    return run(config, BEGAN)


def _version() -> str:
    return f"llamahttp {__version__} (Python {platform.python_version()})\n"


if __name__ == "__main__":
    sys.exit(main())
