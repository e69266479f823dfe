"""Fields: one declared request parameter each, and a JSON body decoded by a table of them.

Null is the same as absent, of several names for one parameter the first listed wins, integers are cut from fractions,
and unknown keys are ignored: llama-server's rules. Pure.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import msgspec

from .. import samplers
from ..errors import InvalidRequest, LlamaHTTPError, NotSupported
from .body import json_type

INT32_MAX = 2**31 - 1
FLOAT32_MAX = 3.4028234663852886e38

Bias = tuple[int | str, float]
"""A token id, or a text that stands for all its tokens, and what is added to the logits."""


class Kind(enum.Enum):
    """What a parameter's JSON value may be."""

    INTEGER = enum.auto()
    NUMBER = enum.auto()
    BOOLEAN = enum.auto()
    STRING = enum.auto()
    STRINGS = enum.auto()
    """A list of strings."""
    SAMPLERS = enum.auto()
    """A list of samplers' names, or one string of their codes."""
    ARRAY = enum.auto()
    OBJECT = enum.auto()
    STOP = enum.auto()
    """A string or a list of strings; empty ones are dropped."""
    BIAS = enum.auto()
    """`[[token, bias], ...]` or `{token: bias}`."""
    SHAPE = enum.auto()
    """What the field's `shape` says."""
    PROMPT = enum.auto()
    """A text, token ids, both mixed, an object that holds one of these, or a list of such prompts."""
    ANY = enum.auto()
    """Read further on by the code that uses it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One request parameter."""

    name: str
    kind: Kind
    default: Any
    help: str
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    """Limits of a number, or of the entries of a list; `high` is also the most characters of a string."""
    soft: bool = False
    """Values outside the limits are moved to the limit; otherwise they are refused."""
    one_of: tuple[str, ...] = ()
    """The strings that are allowed; none listed allows all."""
    required: bool = False
    shape: Any = None
    """The type of an object, or of a list, for readers of the documentation; the kind SHAPE also checks it."""
    later: Callable[[Any], bool] | None = None
    """True for a value that needs what this server does not have yet."""
    inert: bool = False
    """Read and checked, but nothing comes of it."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


class Table:
    """Fields by each of their names, ready to decode bodies."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = {field.name: field for field in fields}
        self._defaults = {field.name: field.default for field in self.fields.values()}
        self._required = [field for field in self.fields.values() if field.required]
        self._by_name: dict[str, Field] = {}
        for field in self.fields.values():
            for name in field.names:
                # a field's own name is stronger than another field's alias
                if name == field.name or name not in self._by_name:
                    self._by_name[name] = field

    def field_of(self, name: str) -> Field | None:
        """The field that a member of a body gives its value to."""
        return self._by_name.get(name)

    def decode(self, body: Mapping[str, object], defaults: Mapping[str, Any] = {}) -> dict[str, Any]:
        """Every field's value by its first name. What the body leaves out is as in `defaults`, else as in the table.

        Raises InvalidRequest for a wrong type or value and for a missing one that is required, NotSupported for one
        that needs what is not there yet.
        """
        for field in self._required:
            if all(body.get(name) is None for name in field.names):
                raise InvalidRequest(f"'{field.name}' is required", param=field.name)
        values = {**self._defaults, **defaults}
        for name, value in body.items():
            given = self.field_of(name)
            if given is None or value is None or self._is_shadowed(given, name, body):
                continue
            try:
                values[given.name] = read(given, name, value)
            except LlamaHTTPError as error:
                error.param = name
                raise
        return values

    def _is_shadowed(self, field: Field, name: str, body: Mapping[str, object]) -> bool:
        """Whether a name listed before `name` gives the field its value."""
        if name == field.name:
            return False
        earlier = field.names[: field.names.index(name)]
        return any(body.get(other) is not None and self._by_name[other] is field for other in earlier)


def read(field: Field, name: str, value: object) -> Any:
    """`value` as `field` wants it; `name` is what the client called it."""
    result = _READERS[field.kind](field, name, value)
    if field.one_of and result not in field.one_of:
        raise InvalidRequest(f"Field '{name}': Value must be one of {', '.join(field.one_of)}, but got {result}")
    if field.later is not None and field.later(result):
        raise NotSupported(f"Field '{name}': this value needs a feature that this server does not have yet")
    return result


def wrong_type(name: str, expected: str, value: object) -> InvalidRequest:
    return InvalidRequest(f"Field '{name}': type must be {expected}, but is {json_type(value)}")


def out_of_range(name: str, low: float, high: float, value: float) -> InvalidRequest:
    show = "{:f}".format if isinstance(value, float) else str
    return InvalidRequest(
        f"Field '{name}': Value must be between {show(low)} <= value <= {show(high)}, but got {show(value)}"
    )


def _limited(field: Field, name: str, value: float) -> float:
    low = value if field.low is None else field.low
    high = value if field.high is None else field.high
    if low <= value <= high:
        return value
    if not field.soft:
        raise out_of_range(name, low, high if field.high is not None else INT32_MAX, value)
    return min(max(value, low), high)


def _integer(field: Field, name: str, value: object) -> int:
    if not isinstance(value, int | float):
        raise wrong_type(name, "number", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"Field '{name}': Value must be finite, but got {value}")
    return int(_limited(field, name, int(value)))


def _number(field: Field, name: str, value: object) -> float:
    if not isinstance(value, int | float):
        raise wrong_type(name, "number", value)
    result = float(_limited(field, name, _as_float(value)))
    if abs(result) > FLOAT32_MAX:
        raise InvalidRequest(f"Field '{name}': Value must be finite as a 32-bit float, but got {result:g}")
    return result


def _as_float(value: int | float) -> float:
    """A JSON number; a whole one may be larger than any float."""
    return float(min(max(value, -1e308), 1e308))


def _boolean(field: Field, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(name, "boolean", value)
    return value


def _string(field: Field, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(name, "string", value)
    if field.high is not None and len(value) > field.high:
        raise InvalidRequest(f"Field '{name}': at most {field.high} characters are allowed, but got {len(value)}")
    return value


def _strings(field: Field, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise wrong_type(name, "array of strings", value)
    _check_length(field, name, value)
    for item in value:
        if not isinstance(item, str):
            raise wrong_type(name, "array of strings", item)
    return tuple(value)


def _check_length(field: Field, name: str, entries: Sized) -> None:
    if field.low is not None and len(entries) < field.low:
        raise InvalidRequest(f"Field '{name}': must be a non-empty array of strings")
    if field.high is not None and len(entries) > field.high:
        raise InvalidRequest(f"Field '{name}': at most {field.high} entries are allowed, but got {len(entries)}")


def _samplers(field: Field, name: str, value: object) -> tuple[str, ...]:
    """llama-server drops what it does not know; here it is an error, for the chain would not be what was asked for."""
    try:
        return (
            samplers.from_codes(value) if isinstance(value, str) else samplers.from_names(_strings(field, name, value))
        )
    except ValueError as error:
        raise InvalidRequest(f"Field '{name}': {error}") from None


def _array(field: Field, name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise wrong_type(name, "array", value)
    return value


def _object(field: Field, name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type(name, "object", value)
    return value


def _stop(field: Field, name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    return tuple(word for word in _strings(field, name, value) if word)


def _bias(field: Field, name: str, value: object) -> tuple[Bias, ...]:
    """Entries that make no sense are skipped, as in llama-server: clients send ids of other vocabularies."""
    match value:
        case list():
            pairs = [tuple(entry) for entry in value if isinstance(entry, list) and len(entry) == 2]
        case dict():
            pairs = [(_token_id(key), bias) for key, bias in value.items()]
        case _:
            raise wrong_type(name, "array or object", value)
    _check_length(field, name, pairs)
    entries: list[Bias] = []
    for token, bias in pairs:
        if not isinstance(token, int | str) or isinstance(token, bool):
            continue
        if bias is False:
            entries.append((token, -math.inf))
        elif isinstance(bias, int | float) and bias is not True:
            entries.append((token, _as_float(bias)))
    return tuple(entries)


def _token_id(key: str) -> int | str:
    """A key of a `logit_bias` object: an id when it is a decimal number, a text otherwise."""
    digits = key.removeprefix("-")
    return int(key) if digits.isascii() and digits.isdigit() and len(digits) < 12 else key


def _shape(field: Field, name: str, value: object) -> Any:
    if isinstance(value, list):
        _check_length(field, name, value)
    try:
        return msgspec.convert(value, field.shape)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(f"Field '{name}{path.rstrip('`')}': {problem}") from None


def _any(field: Field, name: str, value: object) -> object:
    return value


_READERS: dict[Kind, Callable[[Field, str, Any], Any]] = {
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.STRING: _string,
    Kind.STRINGS: _strings,
    Kind.SAMPLERS: _samplers,
    Kind.ARRAY: _array,
    Kind.OBJECT: _object,
    Kind.STOP: _stop,
    Kind.BIAS: _bias,
    Kind.SHAPE: _shape,
    Kind.PROMPT: _any,  # `prompt` makes tokens of it
    Kind.ANY: _any,
}
