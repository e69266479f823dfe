"""Reading a command line and an environment into a configuration."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..config import ServerConfig
from ..errors import StartupError
from . import config_file, vertex
from .row import Constant, Flag, Ignored, Preset, Refused, Switch, Unused, Value
from .table import BY_NAME, FLAGS
from .values import boolean, local_path, model_file, unescaped

ADDS_UP = (
    "control_vectors",
    "dry_sequence_breakers",
    "logit_bias",
    "loras",
    "overrides",
    "stop",
    "template_kwargs",
    "tensor_buffers",
)
"""Targets whose flags may be given several times."""

T = TypeVar("T")

_KEYS = {flag.env: flag for flag in FLAGS if flag.env} | {name.lstrip("-"): flag for name, flag in BY_NAME.items()}
"""Flags by what files call them."""

Setting = tuple[Flag, object]
"""A flag that was given, and its value."""


class UsageError(StartupError):
    """The command line is wrong."""


class Show(Exception):
    """`--help` or `--version`: `str()` says which."""


class Tree(dict[str, Any]):
    """Values of a configuration's fields by name; those of a configuration in it are a Tree again."""

    def put(self, target: str, value: Any) -> None:
        *parts, name = target.split(".")
        fields = self
        for part in parts:
            fields = fields.setdefault(part, Tree())
        match value:
            case frozenset():
                value |= fields.get(name, frozenset())
            case ("",):
                value = ()  # no sequence breakers
            case tuple() if name in ADDS_UP:
                value = fields.get(name, ()) + value
        fields[name] = value

    def applied_to(self, config: Any) -> Any:
        """`config` with these values in place of its own."""
        values = {
            name: value.applied_to(getattr(config, name)) if isinstance(value, Tree) else value
            for name, value in self.items()
        }
        return replace(config, **values)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> ServerConfig:
    """Read the command line (without the program's name), which wins over the environment, and that over files.

    Raises UsageError for a wrong flag or value, StartupError for a file that cannot be used, and Show.
    """
    names: dict[Flag, str] = {}
    settings: list[Setting] = []
    notes: list[str] = []
    for given in (_read_argv(argv), _read_environ(environ), _read_files(environ, notes)):
        stronger = frozenset(names)
        read: list[Setting] = []
        for flag, name, text in given:
            if flag not in stronger:
                names[flag] = name
                read += _setting(flag, name, text)
        notes += _overruled(read)
        settings = read + settings
    config = vertex.as_told(_configure(settings, notes), environ)
    source = config.source
    if source.path is None:
        return config
    fetched = source.repo is not None or source.url is not None
    name = names.get(BY_NAME["--model"], BY_NAME["--model"].env)
    model = _checked(local_path if fetched else model_file, name, source.path)
    return replace(config, engine=replace(config.engine, model=model))


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names of LLAMA_ARG_* variables that are set but mean nothing here."""
    known = {name for flag in FLAGS for name in (flag.env, flag.env_off)}
    return sorted(name for name in environ if name.startswith("LLAMA_ARG_") and name not in known)


def _read_argv(argv: Sequence[str]) -> Iterator[tuple[Flag, str, str]]:
    """Each flag with the name that it was given by and its value, `on` or `off` where it takes none."""
    words = iter(argv)
    for word in words:
        name, attached = _split(word)
        flag = BY_NAME.get(name)
        if flag is None:
            raise UsageError(_unknown(name))
        n_values, metavar = _takes(flag)
        if attached is not None and n_values == 0:
            raise UsageError(f"{name} takes no value")
        given = [attached] if attached is not None else []
        given += itertools.islice(words, n_values - len(given))
        if len(given) < n_values:
            raise UsageError(f"{name} needs a value: {name} {metavar}")
        text = " ".join(given) if n_values else "on" if name in flag.names else "off"
        yield flag, name, text


def _takes(flag: Flag) -> tuple[int, str]:
    """How many words follow the flag, and what they are called."""
    match flag:
        case Value():
            return flag.n_values, flag.metavar
        case Unused(metavar=metavar) if metavar:
            return 1, metavar
    return 0, ""


def _setting(flag: Flag, name: str, text: str) -> Iterator[Setting]:
    """What a flag means that was given as `name` with the value `text`."""
    if _takes(flag) == (0, ""):
        text = "on" if _checked(boolean, name, text) else "off"
    match flag:
        case Value():
            yield flag, _checked(flag.parse, name, text)
        case Switch():
            yield flag, text == "on"
        case Constant(target="show", value=what):
            raise Show(what)
        case Constant() | Preset() if text == "on":
            yield flag, None
        case Unused():
            _checked(flag.parse, name, text)
            if text in flag.harmless or (text == "off" and not flag.metavar and not flag.off):
                return
            if isinstance(flag, Refused):
                raise UsageError(f"{name}: {flag.why}")
            yield flag, f"{name} has no effect: {flag.why}"


def _split(word: str) -> tuple[str, str | None]:
    """Name and attached value of `--name=value`; as in llama-server, long names may have `_` for `-`."""
    if not word.startswith("--"):
        return word, None
    name, equals, value = word.partition("=")
    return name.replace("_", "-"), value if equals else None


def _unknown(name: str) -> str:
    if not name.startswith("-"):
        return f"unexpected argument {name!r}: everything is set with flags; a model is named with -m"
    flag, equals, value = name.partition("=")
    if equals and flag in BY_NAME:
        hint = f"write {flag} {value}"
    else:
        hint = f"did you mean {close}?" if (close := _nearest(name)) else "--help lists all that there are"
    return f"unknown flag {name}; {hint}"


def _nearest(name: str) -> str | None:
    """The flag that was meant, if it has a long name: to two or three letters every other flag is near."""
    if not name.startswith("--"):
        return None
    near = difflib.get_close_matches(name, [known for known in BY_NAME if known.startswith("--")], n=5)

    def rank(known: str) -> tuple[bool, bool]:
        return sorted(known) != sorted(name), not known.startswith(name)

    return min(near, key=rank, default=None)


def _read_environ(environ: Mapping[str, str]) -> Iterator[tuple[Flag, str, str]]:
    for flag in FLAGS:
        value = environ.get(flag.env, "") if flag.env else ""
        if flag.env_off in environ:
            yield flag, flag.env_off, "off"
        elif value:  # an empty variable counts as unset: compose files produce them
            yield flag, flag.env, value


def _checked(parse: Callable[[str], T], name: str, value: str) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    except StartupError as error:
        raise StartupError(f"{name}: {error}") from None


def _read_files(environ: Mapping[str, str], notes: list[str]) -> Iterator[tuple[Flag, str, str]]:
    """The settings in files; what they say that means nothing here goes to `notes`."""
    for path in config_file.paths(environ):
        entries = config_file.entries(path)
        if entries:
            notes.append(f"settings are read from {path}")
        for key, value, place in entries:
            if key not in _KEYS:
                notes.append(f"{place}: there is no such setting as {key}")
                continue
            flag, name = _KEYS[key], f"{place}: {key}"
            if _takes(flag) == (0, "") and key in [off.lstrip("-") for off in flag.off]:
                value = "off" if _checked(boolean, name, value) else "on"
            yield flag, name, value


def _configure(settings: Sequence[Setting], notes: Sequence[str]) -> ServerConfig:
    """Apply settings in order: the last one wins, except that API keys and what `ADDS_UP` names add up."""
    tree = Tree()
    for flag, _ in settings:
        if isinstance(flag, Preset):
            for target, value in flag.values.items():
                tree.put(target, value)
    for flag, value in settings:
        match flag:
            case Constant():
                tree.put(flag.target, flag.value)
            case Value() | Switch():
                tree.put(flag.target, value)
    notes = [*(str(note) for flag, note in settings if isinstance(flag, Ignored)), *notes]
    config: ServerConfig = tree.applied_to(ServerConfig(notes=tuple(notes)))
    if config.sampling.grammar and config.sampling.json_schema is not None:
        raise UsageError("--grammar and --json-schema: answers can obey one of them")
    return _unescaped(config) if config.escape else config


def _overruled(settings: Sequence[Setting]) -> Iterator[str]:
    """Notes on flags that were given with several values, where only the last one counts."""
    values: dict[str, list[object]] = {}
    for flag, value in settings:
        if isinstance(flag, Value) and flag.target.rpartition(".")[2] not in ADDS_UP:
            values.setdefault(flag.names[-1], []).append(value)
    for name, given in values.items():
        if not isinstance(given[-1], frozenset) and any(value != given[-1] for value in given):
            yield f"{name} is given {len(given)} times: only the last one counts"


def _unescaped(config: ServerConfig) -> ServerConfig:
    breakers = config.sampling.dry_sequence_breakers
    if breakers:
        breakers = tuple(map(unescaped, breakers))
    return replace(
        config,
        sampling=replace(config.sampling, dry_sequence_breakers=breakers),
        stop=tuple(map(unescaped, config.stop)),
    )
