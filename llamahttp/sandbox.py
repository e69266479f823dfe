"""The sandbox in which chat templates run: jinja2's, with bounds on time and size.

A template comes with the model file, so it is somebody else's program, and it runs beside the event loop, with the GIL.
jinja2 keeps it from reaching Python; here it is also kept from running on and from growing text without
end. The clock is read at each turn of a loop, each call and each filter; sizes are checked before text is
made. Lists nested in themselves many times over are not followed: this stops mistakes and careless
templates, not every way to waste memory.

In three things it is milder than transformers, as llama-server is: lists can be appended to, adding something
undefined to text adds nothing, and `safe` does not escape what is added later.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from jinja2 import Template, TemplateError, TemplateRuntimeError, Undefined, nodes, pass_context
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import escape

MAX_SECONDS = 1.0
"""Longest a rendering may take. An ordinary one takes less than a millisecond."""
MAX_CHARS = 16 * 1024 * 1024
"""Longest text, in characters, that a rendering may give or make on its way."""
MAX_ITEMS = 1024 * 1024
"""Longest list that a sum or product may give."""
MAX_BITS = 4096
"""Longest integer that a product or power may give."""

FAULTS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a template's mistakes can raise while it is compiled or rendered."""


class TooSlow(TemplateRuntimeError):
    """A rendering takes longer than MAX_SECONDS."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Compiles templates and renders them, one at a time."""

    # sums and concatenations are checked by filters around them (_Bounds), which costs less than this
    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self) -> None:
        extensions = [LoopControlExtension, _GenerationTag]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, undefined=_Undefined)
        self._deadline = float("inf")
        del self.globals["lipsum"]
        for name in (
            "pprint",
            "random",
            "urlize",
            "wordwrap",
            "xmlattr",
        ):  # can grow text; no chat needs them
            del self.filters[name]
        self.filters |= {"tojson": _to_json, "safe": str, "escape": _escaped, "e": _escaped}
        for name, function in self.filters.items():
            self.filters[name] = self._bounded(function, _FILTER_SIZES.get(name))
        self.filters |= {"_turn": self._turn, "_joined": _joined, "_sized": _sized}

    def compile_bounded(self, source: str) -> Template:
        """Raises one of FAULTS."""
        tree: nodes.Template = _Bounds().visit(self.parse(source))
        tree.set_environment(self)
        return self.from_string(tree)

    def render(self, template: Template, inputs: Mapping[str, object]) -> str:
        """Raises one of FAULTS."""
        self._deadline = monotonic() + MAX_SECONDS
        try:
            return template.render(inputs)
        finally:
            self._deadline = float("inf")

    def concat(self, parts: Iterable[str]) -> str:
        """What jinja2 calls instead of "".join for all that the template, a macro or a block puts out."""
        kept, n_chars = [], 0
        for part in parts:
            kept.append(part)
            n_chars += len(part)
            if n_chars > MAX_CHARS:
                _check_size(n_chars)
        self._check_time()
        return "".join(kept)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read this attribute."""
        return super().is_safe_attribute(obj, attr, value) or (isinstance(obj, list) and attr in ("append", "pop"))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """What jinja2 calls instead of a function, method or macro."""
        # the names keep clear of the template's keyword arguments, as in jinja2
        __self._check_time()
        method = getattr(__obj, "__wrapped__", __obj)  # jinja2 wraps str.format
        text = getattr(method, "__self__", None)
        if isinstance(text, str) and (size := _METHOD_SIZES.get(method.__name__)):
            args = tuple(_listed(value) for value in args)
            _check_size(size(text, *args, **kwargs))
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What jinja2 calls instead of the intercepted operators."""
        match operator, left, right:
            case "*", int(), int():
                _check_bits(left.bit_length() + right.bit_length())
            case "**", int(), int():
                _check_bits(left.bit_length() * right)
            case "*", (str() | list() | tuple()), int():
                _check_length(left, right)
            case "*", int(), (str() | list() | tuple()):
                _check_length(right, left)
            case "%", str(), _:
                _check_size(_format_size(left))
        return super().call_binop(context, operator, left, right)

    def _check_time(self) -> None:
        if monotonic() > self._deadline:
            raise TooSlow(f"the chat template takes longer than {MAX_SECONDS:g} s")

    def _bounded(self, function: Callable[..., Any], size: Callable[..., int] | None) -> Callable[..., Any]:
        """A filter that looks at the clock and, where `size` tells how large its result can be, at that."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0  # position of the filtered value

        @functools.wraps(function)  # also keeps jinja_pass_arg
        def run(*args: Any, **kwargs: Any) -> Any:
            self._check_time()
            if size:
                args = (*args[:first], *map(_listed, args[first:]))
                _check_size(size(*args[first:], **kwargs))
            return function(*args, **kwargs)

        return run

    @pass_context  # so that jinja2 does not take it for a constant
    def _turn(self, context: Context, value: bool) -> bool:
        """One turn of a loop."""
        self._check_time()
        return value


class _Undefined(Undefined):
    """What a template names but was not given."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return other if isinstance(other, str) else super().__add__(other)

    def __radd__(self, other: Any) -> Any:
        return other if isinstance(other, str) else super().__radd__(other)


class _Bounds(NodeTransformer):
    """Puts the checks into a template's syntax tree."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        turn = _filter("_turn", nodes.Const(True), node.lineno)
        node.body.insert(0, nodes.ExprStmt(turn, lineno=node.lineno))
        if node.test is not None:  # runs for items that the body does not see
            node.test = nodes.And(turn, node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return _filter("_joined", nodes.List(node.nodes, lineno=node.lineno), node.lineno)

    def visit_Add(self, node: nodes.Add) -> nodes.Filter:
        self.generic_visit(node)
        return _filter("_sized", node, node.lineno)


class _GenerationTag(Extension):
    """`{% generation %}`, which marks the tokens to train on in transformers; here a mere scope."""

    tags = {"generation"}  # noqa: RUF012 (declared so by jinja2)

    def parse(self, parser: Parser) -> nodes.Scope:
        lineno = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=lineno)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """`tojson` as in transformers: not escaped for HTML, keys in their own order."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _escaped(value: object) -> str:
    return str(escape(value))


def _filter(name: str, value: nodes.Expr, lineno: int) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=lineno)


def _check_size(n: int) -> None:
    if n > MAX_CHARS:
        raise TemplateRuntimeError(f"the chat template makes more than {MAX_CHARS} characters")


def _check_length(value: str | list[Any] | tuple[Any, ...], times: int = 1) -> None:
    if isinstance(value, str):
        _check_size(len(value) * times)
    elif len(value) * times > MAX_ITEMS:
        raise TemplateRuntimeError(f"the chat template makes a list of more than {MAX_ITEMS} items")


def _check_bits(n: int) -> None:
    if n > MAX_BITS:
        raise TemplateRuntimeError(f"the chat template makes a number of more than {MAX_BITS} bits")


def _sized(value: Any) -> Any:
    """The sum `value`, whose operands were small enough, if it is too."""
    if isinstance(value, (str, list, tuple)):
        _check_length(value)
    return value


def _joined(values: Sequence[Any]) -> str:
    """`a ~ b ~ c`."""
    texts = list(map(str, values))
    _check_size(sum(map(len, texts)))
    return "".join(texts)


def _listed(value: Any) -> Any:
    """`value`, as a list if it can be read only once."""
    return list(value) if hasattr(value, "__next__") else value


def _width_size(text: object, width: int = 80, *_: object, **__: object) -> int:
    return max(len(str(text)), int(width))


def _tab_size(text: str, tabsize: int = 8) -> int:
    return len(text) * int(tabsize)


def _indent_size(text: object, width: int | str = 4, *_: object, **__: object) -> int:
    n = len(width) if isinstance(width, str) else int(width)
    return len(str(text)) + n * (str(text).count("\n") + 1)


def _replace_size(text: object, old: object, new: object, *_: object, **__: object) -> int:
    text, new = str(text), str(new)
    if len(new) * (len(text) + 1) <= MAX_CHARS:
        return len(text)
    return len(text) + text.count(str(old)) * len(new)


def _join_size(items: Collection[object], separator: object = "", *_: object, **__: object) -> int:
    size = len(items) * (len(str(separator)) + 1)
    return size if size > MAX_CHARS else size + sum(len(item) for item in items if isinstance(item, str))


def _format_size(text: object, *_: object, **__: object) -> int:
    """Widths of six digits, or taken from the arguments, are too large; the rest was in memory already."""
    wide = re.search(r"\d{6}|%[^a-zA-Z%]*\*|:[^{}]*\{", str(text))
    return MAX_CHARS + 1 if wide else 0


def _part_size(items: object, n: int, *_: object, **__: object) -> int:
    return int(n)


def _json_size(value: object, *_: object, indent: int | None = None, **__: object) -> int:
    return MAX_CHARS + 1 if isinstance(indent, int) and indent > 64 else 0


_FILTER_SIZES: dict[str, Callable[..., int]] = {
    "batch": _part_size,
    "center": _width_size,
    "format": _format_size,
    "indent": _indent_size,
    "join": _join_size,
    "replace": _replace_size,
    "slice": _part_size,
    "tojson": _json_size,
}
_METHOD_SIZES: dict[str, Callable[..., int]] = {
    "center": _width_size,
    "expandtabs": _tab_size,
    "format": _format_size,
    "format_map": _format_size,
    "join": lambda separator, items: _join_size(items, separator),
    "ljust": _width_size,
    "replace": _replace_size,
    "rjust": _width_size,
    "translate": lambda *_: MAX_CHARS + 1,
    "zfill": _width_size,
}
