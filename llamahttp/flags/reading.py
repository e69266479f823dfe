"""Reading a command line and an environment into a configuration."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..config import ServerConfig
from ..errors import StartupError
from .row import Constant, Flag, Switch, Value
from .table import BY_NAME, FLAGS
from .values import boolean

ADDS_UP = ("control_vectors", "loras", "logit_bias", "dry_sequence_breakers")
"""Targets whose flags may be given several times."""

Setting = tuple[Flag, object]
"""A flag that was given, and its value."""


class UsageError(StartupError):
    """The command line is wrong."""


class Show(Exception):
    """`--help` or `--version`: `str()` says which."""


class Tree(dict[str, Any]):
    """Values of a configuration's fields by name; those of a configuration in it are a Tree again."""

    def applied_to(self, config: Any) -> Any:
        """`config` with these values in place of its own."""
        values = {
            name: value.applied_to(getattr(config, name)) if isinstance(value, Tree) else value
            for name, value in self.items()
        }
        return replace(config, **values)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> ServerConfig:
    """Read the command line (without the program's name) and the environment, over which it wins.

    Raises UsageError for a wrong flag or value, StartupError for a file that cannot be used, and Show.
    """
    given = list(_read_argv(argv))
    flags_given = {flag for flag, _ in given}
    settings = [setting for setting in _read_environ(environ, skip=flags_given)] + given
    return _configure(settings)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names of LLAMA_ARG_* variables that are set but mean nothing here."""
    known = {flag.env for flag in FLAGS} | {flag.env_off for flag in FLAGS if isinstance(flag, Switch)}
    return sorted(name for name in environ if name.startswith("LLAMA_ARG_") and name not in known)


def _read_argv(argv: Sequence[str]) -> Iterator[Setting]:
    words = iter(argv)
    for word in words:
        name, value = _split(word)
        flag = BY_NAME.get(name)
        if flag is None:
            raise UsageError(_unknown(name))
        if value is not None and not isinstance(flag, Value):
            raise UsageError(f"{name} takes no value")
        match flag:
            case Value():
                following = [value] if value is not None else []
                following += itertools.islice(words, flag.n_values - len(following))
                if len(following) < flag.n_values:
                    raise UsageError(f"{name} needs a value: {name} {flag.metavar}")
                yield flag, _checked(flag.parse, name, " ".join(following))
            case Switch():
                yield flag, name in flag.names
            case Constant(target="show", value=what):
                raise Show(what)
            case Constant(value=constant):
                yield flag, constant


def _split(word: str) -> tuple[str, str | None]:
    """Name and attached value of `--name=value`; as in llama-server, long names may have `_` for `-`."""
    if not word.startswith("--"):
        return word, None
    name, equals, value = word.partition("=")
    return name.replace("_", "-"), value if equals else None


def _unknown(name: str) -> str:
    if not name.startswith("-"):
        return f"unexpected argument {name!r}: everything is set with flags; a model is named with -m"
    # to two or three letters every other flag is near
    long_names = [known for known in BY_NAME if known.startswith("--")]
    close = difflib.get_close_matches(name, long_names, n=1) if name.startswith("--") else []
    hint = (
        f"did you mean {close[0]}?"
        if close
        else "--help lists all that there are, which is not all of llama-server's yet"
    )
    return f"unknown flag {name}; {hint}"


def _read_environ(environ: Mapping[str, str], skip: set[Flag]) -> Iterator[Setting]:
    for flag in FLAGS:
        if flag in skip or not flag.env:
            continue
        if isinstance(flag, Switch) and flag.env_off in environ:
            yield flag, False
            continue
        value = environ.get(flag.env, "")
        if not value:
            continue  # an empty variable counts as unset: compose files produce them
        match flag:
            case Value():
                yield flag, _checked(flag.parse, flag.env, value)
            case Switch():
                yield flag, _checked(boolean, flag.env, value)
            case Constant() if _checked(boolean, flag.env, value):
                yield flag, flag.value


def _checked(parse: Callable[[str], object], name: str, value: str) -> object:
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    except StartupError as error:
        raise StartupError(f"{name}: {error}") from None


def _configure(settings: Sequence[Setting]) -> ServerConfig:
    """Apply settings in order: the last one wins, except that API keys and what `ADDS_UP` names add up."""
    tree = Tree()
    for flag, value in settings:
        if flag.target == "nothing":
            continue
        *parts, name = flag.target.split(".")
        fields = tree
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
    config: ServerConfig = tree.applied_to(ServerConfig())
    return config
