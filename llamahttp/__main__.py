"""The command `llamahttp`: flags, then the server; every fault is one line on stderr.

Imports next to nothing until `main` minds signals, so that Ctrl-C ends the command quietly from its first moment on.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

BEGAN = time.perf_counter()

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command; returns the exit status: 0, 1 (cannot start) or 2 (wrong flags)."""
    _on_signals(lambda number, frame: os._exit(0))  # an exception in the midst of an import comes out as anything
    from . import flags
    from .errors import StartupError

    try:
        return _run(sys.argv[1:] if argv is None else argv, environ)
    except flags.Show as show:
        _print(_shown(str(show), environ))
        return 0
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, flags.UsageError) else 1
    except KeyboardInterrupt:
        return 0


def _on_signals(handler: Callable[..., object]) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    from . import flags, log

    config = flags.parse(argv, environ)
    log.setup(config.log)
    for name in flags.unknown_variables(environ):
        print(f"warning: {name} is set, but llamahttp has no such setting", file=sys.stderr)
    for note in config.notes:
        print(f"note: {note}", file=sys.stderr)
    if config.source != type(config.source)():
        from .download import fetched

        config = fetched(config, environ)
    from .serve import run  # after the flags: it brings numpy and aiohttp with it

    _on_signals(signal.default_int_handler)  # there are sockets to close now; once it runs, the loop takes signals
    return run(config, BEGAN)


def _print(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # `| head` has read enough; the interpreter flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(what: str, environ: Mapping[str, str]) -> str:
    """The text that a flag such as `--help` asks for. Raises StartupError."""
    from . import flags

    match what.split("-"):
        case ["help"]:
            return flags.help_text()
        case ["completion", shell]:
            return flags.completion(shell)
        case ["cache"]:
            from .hub import cached_models

            models = list(cached_models(environ))
            lines = [f"{i:4}. {model}\n" for i, model in enumerate(models, 1)]
            return f"number of models in cache: {len(models)}\n{''.join(lines)}"
        case ["devices"]:
            from .binding import devices

            return devices.listed()
    return _version()


def _version() -> str:
    import platform

    from .binding import manifest
    from .errors import LibraryError
    from .version import __version__

    lines = f"llamahttp {__version__} (Python {platform.python_version()})\n"
    try:
        return lines + f"llama.cpp {manifest.version(manifest.read(manifest.directory()))}\n"
    except LibraryError:  # none is built yet
        return lines


if __name__ == "__main__":
    sys.exit(main())
