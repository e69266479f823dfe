"""A row of the table of flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One row. `target`: the path of a field in ServerConfig, such as `port` or `engine.n_ctx`; or `nothing`."""

    names: tuple[str, ...]
    target: str
    help: str
    """`{}` stands for the default."""
    env: str = ""

    @property
    def all_names(self) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class Value(Flag):
    """A flag that takes a value. `parse` raises ValueError (the value is wrong) or StartupError (what it names is)."""

    metavar: str
    parse: Callable[[str], object]
    n_values: int = 1
    """Words that it takes; `parse` gets them with a space between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Flag):
    """A flag with an opposite."""

    off: tuple[str, ...]

    @property
    def all_names(self) -> tuple[str, ...]:
        return self.names + self.off

    @property
    def env_off(self) -> str:
        """The variable that switches it off by being set at all."""
        return self.env.replace("LLAMA_ARG_", "LLAMA_ARG_NO_") if self.env else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Flag):
    """A flag that stands for one value of its target."""

    value: object
