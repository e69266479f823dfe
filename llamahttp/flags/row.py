"""A row of the table of flags. Its class says what giving the flag does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One row."""

    names: tuple[str, ...]
    off: tuple[str, ...] = ()
    """Names that say the opposite."""
    env: str = ""

    @property
    def all_names(self) -> tuple[str, ...]:
        return self.names + self.off

    @property
    def env_off(self) -> str:
        """The variable that switches it off by being set at all."""
        return self.env.replace("LLAMA_ARG_", "LLAMA_ARG_NO_") if self.env and self.off else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective(Flag):
    """A flag that sets something."""

    target: str
    """The path of a field in ServerConfig, such as `port` or `engine.n_ctx`; `show` asks for a text instead."""
    help: str
    """`{}` stands for the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value(Effective):
    """A flag that takes a value. `parse` raises ValueError (the value is wrong) or StartupError (what it names is)."""

    metavar: str
    parse: Callable[[str], object]
    n_values: int = 1
    """Words that it takes; `parse` gets them with a space between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Effective):
    """A flag with an opposite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Effective):
    """A flag that stands for one value of its target."""

    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset(Effective):
    """A flag that stands for several settings, by target. What else is given wins over them."""

    values: dict[str, object]

    def __hash__(self) -> int:
        return hash(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused(Flag):
    """A flag of llama-server that sets nothing here."""

    why: str
    metavar: str = ""
    """Empty: it takes no value."""
    parse: Callable[[str], object] = str
    harmless: tuple[str, ...] = ()
    """Values that ask for nothing but what is so anyway; of a switch `on` or `off`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored(Unused):
    """A flag whose purpose does not exist here: it is taken, and the start says that it has no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Unused):
    """A flag for something that is not built: whoever gives it wants that, so the start fails."""


def ignored(
    names: str,
    why: str,
    metavar: str = "",
    *,
    env: str = "",
    off: str = "",
    harmless: tuple[str, ...] = (),
    parse: Callable[[str], object] = str,
) -> Ignored:
    """A row; names are separated by spaces."""
    return Ignored(
        names=tuple(names.split()),
        off=tuple(off.split()),
        env=env,
        why=why,
        metavar=metavar,
        parse=parse,
        harmless=harmless,
    )


def refused(
    names: str,
    why: str,
    metavar: str = "",
    *,
    env: str = "",
    off: str = "",
    harmless: tuple[str, ...] = (),
) -> Refused:
    """A row; names are separated by spaces."""
    return Refused(
        names=tuple(names.split()), off=tuple(off.split()), env=env, why=why, metavar=metavar, harmless=harmless
    )
