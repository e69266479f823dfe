#!/usr/bin/env python3
"""Start of the container: variables to flags, then `llamahttp` takes this process's place and gets its signals.

    MODEL or LLAMA_MODEL   a GGUF file, one in /models, a URL, or user/repo[:quant] of Hugging Face
    CTX_SIZE, MAX_TOKENS, PORT, PARALLEL, BATCH_SIZE, UBATCH_SIZE
    LLAMA_ARGS             more flags, quoted as in a shell

Arguments win over LLAMA_ARGS, those over the other variables, and these over LLAMA_ARG_*, which llamahttp itself reads,
as it does HF_TOKEN. An empty variable is none. `health` asks the running server; any other command is run in its place.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import ssl
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

NUMBERS = {
    "CTX_SIZE": "--ctx-size",
    "MAX_TOKENS": "--n-predict",
    "PORT": "--port",
    "PARALLEL": "--parallel",
    "BATCH_SIZE": "--batch-size",
    "UBATCH_SIZE": "--ubatch-size",
}
"""Variables that are a whole number, by the flag that they stand for."""

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")

HEALTH_S = 4.0
"""How long the server may take to say that it is well."""


class WrongVariable(Exception):
    """A variable that cannot be meant."""


def arguments(environ: Mapping[str, str], argv: Sequence[str], models: Path = Path("/models")) -> list[str]:
    """The flags of llamahttp. Raises WrongVariable."""
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    flags = model_flags(given, models)
    for name, flag in NUMBERS.items():
        if name in given:
            flags += [flag, whole_number(name, given[name])]
    return [*flags, *words(given.get("LLAMA_ARGS", "")), *argv]


def model_flags(given: Mapping[str, str], models: Path) -> list[str]:
    chosen = {given[name] for name in ("MODEL", "LLAMA_MODEL") if name in given}
    if len(chosen) > 1:
        raise WrongVariable(f"MODEL and LLAMA_MODEL name two models: {' and '.join(sorted(chosen))}")
    for model in chosen:
        if model.startswith(("http://", "https://")):
            return ["--model-url", model]
        for path in (Path(model), models / model):
            if path.is_file():
                return ["--model", str(path)]
        if REPOSITORY.fullmatch(model) and not model.endswith(".gguf"):
            return ["--hf-repo", model]
        raise WrongVariable(f"MODEL={model}: there is no such file, here or in {models}")
    return []


def whole_number(name: str, value: str) -> str:
    if not re.fullmatch(r"-?\d+", value):
        raise WrongVariable(f"{name} must be a whole number, but is {value!r}")
    return value


def words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise WrongVariable(f"LLAMA_ARGS={text}: {error}") from None


# --- health


def note(flags: Sequence[str], environ: Mapping[str, str], file: Path) -> None:
    """Write down where the server will be found, for `is_healthy`, which sees another environment than this."""
    port = last_of(flags, "--port") or environ.get("LLAMA_ARG_PORT") or "8080"
    host = last_of(flags, "--host") or environ.get("LLAMA_ARG_HOST") or "127.0.0.1"
    prefix = last_of(flags, "--api-prefix") or environ.get("LLAMA_ARG_API_PREFIX") or ""
    is_tls = last_of(flags, "--ssl-key-file") or environ.get("LLAMA_ARG_SSL_KEY_FILE")
    hosts = [name.strip() for name in host.split(",") if not name.strip().endswith(".sock")]
    first = hosts[0] if hosts else "127.0.0.1"
    address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(first, f"[{first}]" if ":" in first else first)
    url = f"http{'s' if is_tls else ''}://{address}:{port}{prefix}/health"
    file.write_text(json.dumps(url), encoding="utf-8")


def last_of(flags: Sequence[str], name: str) -> str | None:
    """The value of a flag; the last one counts."""
    found = None
    for flag, following in zip(flags, [*flags, None][1:], strict=True):
        if flag == name:
            found = following
        elif flag.startswith(f"{name}="):
            found = flag.partition("=")[2]
    return found


def is_healthy(file: Path) -> bool:
    """Whether the server says that it is."""
    context = ssl.create_default_context()
    context.check_hostname = False  # its certificate names another host than this one
    context.verify_mode = ssl.CERT_NONE
    try:
        url = json.loads(file.read_text(encoding="utf-8"))
        with urllib.request.urlopen(url, timeout=HEALTH_S, context=context) as response:
            return bool(response.status == 200)
    except (OSError, ValueError) as error:
        print(f"not healthy: {error}", file=sys.stderr)
        return False


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Becomes the server; returns only if that is not wanted or cannot be."""
    file = Path(environ.get("TMPDIR") or tempfile.gettempdir()) / "llamahttp-health.json"
    if argv[:1] == ["health"]:
        return 0 if is_healthy(file) else 1
    if argv and not argv[0].startswith("-"):
        os.execvp(argv[0], argv)
    try:
        flags = arguments(environ, argv)
    except WrongVariable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    note(flags, environ, file)
    sys.stdout.flush()
    os.execvp("llamahttp", ["llamahttp", *flags])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
