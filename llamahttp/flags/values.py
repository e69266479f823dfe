"""What flags take: parsers that raise ValueError (the value is wrong) or StartupError (what it names is)."""

from __future__ import annotations

import csv
import difflib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import samplers
from ..builtin_templates import BUILTIN_TEMPLATES
from ..config import N_SLOTS_MAX, Pooling
from ..errors import InvalidRequest, StartupError
from ..structured.schema import enforceable

INT_MAX = 2**31 - 1
FLOAT32_MAX = 3.4028234663852886e38
N_THREADS_MAX = 512
"""GGML_MAX_N_THREADS"""


def integer(low: int, high: int = INT_MAX) -> Callable[[str], int]:
    """A parser of whole numbers within [low, high]."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{number} is not within {low}..{high}")
        return number

    return parse


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    """A parser of finite numbers within [low, high]."""

    def parse(value: str) -> float:
        try:
            result = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None
        if not (low <= result <= high and math.isfinite(result)):
            raise ValueError(f"{result:g} is not within {low:g}..{high:g}")
        return result

    return parse


def boolean(value: str) -> bool:
    """The words that llama-server takes for yes and no."""
    if value in ("on", "enabled", "true", "1"):
        return True
    if value in ("off", "disabled", "false", "0"):
        return False
    raise ValueError(f"{value!r} is neither on, enabled, true, 1 nor off, disabled, false, 0")


def choice(*words: str) -> Callable[[str], str]:
    """A parser that takes one of some words."""

    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return value

    return parse


def on_off(value: str) -> bool:
    try:
        return boolean(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither on nor off") from None


def names(value: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(name.strip() for name in value.split(",") if name.strip())


def json_object(value: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{value!r} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ValueError(f"{value!r} is not a JSON object")
    return parsed


def json_file(value: str) -> dict[str, Any]:
    return json_object(text_file(value))


def on_off_auto(value: str) -> bool | None:
    if value in ("auto", "-1"):
        return None
    try:
        return boolean(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of on, off, auto") from None


def n_slots(value: str) -> int:
    number = integer(-1, N_SLOTS_MAX)(value)
    if number == 0:
        raise ValueError(f"0 slots cannot serve anything; give 1..{N_SLOTS_MAX}, or -1 for automatic")
    return number


def n_threads(value: str) -> int:
    number = integer(-1, N_THREADS_MAX)(value)
    return number if number > 0 else -1


def n_gpu_layers(value: str) -> int:
    words = {"auto": -1, "all": -2}
    if value in words:
        return words[value]
    try:
        return integer(0)(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of layers, nor auto, nor all") from None


def cache_ram(value: str) -> int:
    """MiB; -2 is automatic."""
    if value == "auto":
        return -2
    try:
        return integer(-1)(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of MiB, nor -1 for no limit, nor 0 for off, nor auto") from None


def local_path(value: str) -> Path:
    return Path(value).expanduser()


def model_file(value: str) -> Path:
    return _gguf_file(value, "model")


def _gguf_file(value: str, kind: str) -> Path:
    path = Path(value).expanduser()
    if path.is_dir():
        raise StartupError(f"{value} is a directory, not a GGUF file{_inside(path)}")
    if not path.is_file():
        raise StartupError(f"there is no {kind} file {value}{_near(path)}")
    return path


def existing_file(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_file():
        raise StartupError(f"there is no file {value}")
    return path


def existing_directory(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_dir():
        raise StartupError(f"{value} is not a directory")
    return path


def api_prefix(value: str) -> str:
    """`/llama`; empty is none."""
    if value and (not value.startswith("/") or value.endswith("/")):
        raise ValueError(f"{value!r} is not a prefix: it begins with a slash and ends without one")
    return value


def host_names(value: str) -> frozenset[str]:
    return frozenset(name.strip().rstrip(".").lower() for name in value.split(",") if name.strip())


def idle_seconds(value: str) -> int:
    if value.strip() == "0":
        raise ValueError("0 is no time to be idle; -1 is never")
    return integer(-1)(value)


def layer_range(value: str) -> tuple[int, int]:
    """`START END`, both inclusive."""
    first, last = map(integer(0), value.split(" "))
    if last < first:
        raise ValueError(f"{first} to {last} is no range")
    return first, last


def control_vectors(value: str) -> tuple[tuple[Path, float], ...]:
    return tuple((_gguf_file(name, "control vector"), 1.0) for name in _comma_separated(value))


def scaled_control_vectors(value: str) -> tuple[tuple[Path, float], ...]:
    """Comma-separated `FNAME:SCALE`."""
    return tuple(_scaled_file(entry, "control vector") for entry in _comma_separated(value))


def adapters(value: str) -> tuple[tuple[Path, float], ...]:
    """Comma-separated files, each applied in full; a name with a comma stands in double quotes."""
    return tuple((_gguf_file(name, "adapter"), 1.0) for name in _comma_separated(value))


def scaled_adapters(value: str) -> tuple[tuple[Path, float], ...]:
    """Comma-separated `FNAME:SCALE`."""
    return tuple(_scaled_file(entry, "adapter") for entry in _comma_separated(value))


def _scaled_file(entry: str, kind: str) -> tuple[Path, float]:
    name, colon, scale = entry.rpartition(":")
    if not colon:
        raise ValueError(f"{entry!r} has no scale: give FNAME:SCALE")
    return _gguf_file(name, kind), number(-FLOAT32_MAX, FLOAT32_MAX)(scale)


def _comma_separated(value: str) -> list[str]:
    names = [name for row in csv.reader([value]) for name in row if name]
    if not names:
        raise ValueError("there is no file name in it")
    return names


def directory(value: str) -> Path:
    """A directory to write into; made if need be."""
    path = Path(value).expanduser()
    if path.exists() and not path.is_dir():
        raise StartupError(f"{value} is not a directory")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"cannot make the directory {value}: {error.strerror}") from None
    return path


def _inside(directory: Path) -> str:
    found = sorted(path.name for path in directory.glob("*.gguf"))
    return f"; it holds {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}" if found else ""


def _near(missing: Path) -> str:
    names = [path.name for path in missing.parent.glob("*.gguf")] if missing.parent.is_dir() else []
    close = difflib.get_close_matches(missing.name, names, n=1)
    return f"; did you mean {missing.with_name(close[0])}?" if close else ""


def pooling(value: str) -> Pooling:
    try:
        return Pooling(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of {', '.join(each.value for each in Pooling)}") from None


def json_schema(value: str) -> object:
    """A JSON Schema that can be enforced, as far as that shows before it is compiled."""
    try:
        schema = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(schema, bool | dict):
        raise ValueError("it is not a JSON Schema, which is an object")
    try:
        enforceable(schema)
    except InvalidRequest as error:
        raise ValueError(str(error)) from None
    return schema


def json_schema_file(value: str) -> object:
    return json_schema(text_file(value))


def text_file(value: str) -> str:
    try:
        return Path(value).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartupError(f"cannot read {value}: {reason}") from None


def alias(value: str) -> str:
    """A comma-separated list, in alphabetical order: llama-server shows the first as the model's name. May be empty."""
    return ",".join(sorted({name.strip() for name in value.split(",")} - {""}))


def api_keys(value: str) -> frozenset[str]:
    keys = frozenset(key.strip() for key in value.split(",") if key.strip())
    if not keys:
        # An empty key would leave the server open although its owner asked for a lock.
        raise ValueError("there is no key in it")
    return keys


def api_key_file(value: str) -> frozenset[str]:
    lines = [line.strip() for line in text_file(value).splitlines()]
    keys = frozenset(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise StartupError(f"there is no key in {value}")
    return keys


def chat_template(value: str) -> str:
    looks_like_a_name = "{" not in value and len(value.split()) == 1
    if value not in BUILTIN_TEMPLATES and looks_like_a_name:
        raise ValueError(
            f"{value!r} is no template: give Jinja source or one of {', '.join(BUILTIN_TEMPLATES)}; "
            "--chat-template-file takes a file"
        )
    return value


def seed(value: str) -> int:
    """32 bits; -1 is random."""
    return integer(-1, 2**32 - 1)(value) & 0xFFFFFFFF


def temperature(value: str) -> float:
    return max(0.0, real(value))


def real(value: str) -> float:
    return number(-FLOAT32_MAX, FLOAT32_MAX)(value)


def repeat_penalty(value: str) -> float:
    penalty = real(value)
    if penalty <= 0:
        raise ValueError(f"repeat-penalty must be finite and greater than 0, but is {value}")
    return penalty


def sampler_names(value: str) -> tuple[str, ...]:
    return samplers.from_names(name for name in value.split(";") if name)


def logit_bias(value: str) -> tuple[tuple[int, float], ...]:
    """`TOKEN_ID+BIAS` or `TOKEN_ID-BIAS`."""
    match = re.fullmatch(r"\s*(\d{1,10})\s*([+-])(.*)", value, re.DOTALL)
    if match is None:
        raise ValueError(f"{value!r} is not TOKEN_ID+BIAS or TOKEN_ID-BIAS")
    token, sign, size = match.groups()
    bias = math.inf if size.strip().lower() in ("inf", "infinity") else real(size)
    if sign == "+" and bias == math.inf:
        raise ValueError("a bias of +inf would leave no numbers to choose by")
    return ((int(token), -bias if sign == "-" else bias),)


def sequence_breaker(value: str) -> tuple[str, ...]:
    """One more breaker. `none` drops all that were given before."""
    return ("",) if value == "none" else (value,)


def unescaped(text: str) -> str:
    """Read `\\n` and the like as in C."""
    return _ESCAPE.sub(_unescaped, text)


_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)


def _unescaped(match: re.Match[str]) -> str:
    code, letter = match.groups()
    if code is not None:
        return chr(int(code, 16))
    return {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}.get(letter, match.group())
