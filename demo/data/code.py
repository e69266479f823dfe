# ruff: noqa: E501  (a wording reads best on one line)
"""Code: simple Python functions, infilled between a prefix and a suffix, continued, or written on request.

Also plain text to be continued, for the completion endpoints.
"""

from __future__ import annotations

from string import ascii_lowercase

from . import facts, words
from .dialogue import Raw, Turn
from .draw import Draw
from .stories import story

# Each function: a name, a request for it, the parameters, the lines of its body
FUNCTIONS = (
    ("add", "adds two numbers", ("a", "b"), ("return $a + $b",)),
    ("subtract", "subtracts two numbers", ("a", "b"), ("return $a - $b",)),
    ("multiply", "multiplies two numbers", ("a", "b"), ("return $a * $b",)),
    ("divide", "divides two numbers", ("a", "b"), ("return $a / $b",)),
    ("square", "squares a number", ("x",), ("return $a * $a",)),
    ("double", "doubles a number", ("x",), ("return 2 * $a",)),
    ("is_even", "tells whether a number is even", ("n",), ("return $a % 2 == 0",)),
    ("is_odd", "tells whether a number is odd", ("n",), ("return $a % 2 == 1",)),
    ("maximum", "returns the larger of two numbers", ("a", "b"), ("if $a > $b:", "    return $a", "return $b")),
    ("minimum", "returns the smaller of two numbers", ("a", "b"), ("if $a < $b:", "    return $a", "return $b")),
    ("absolute", "returns the absolute value", ("x",), ("if $a < 0:", "    return -$a", "return $a")),
    ("area", "returns the area of a rectangle", ("width", "height"), ("return $a * $b",)),
    ("average", "returns the average of two numbers", ("a", "b"), ("return ($a + $b) / 2",)),
    ("greet", "greets a person", ("name",), ('return "Hello, " + $a',)),
    ("total", "sums a list", ("values",), ("result = 0", "for value in $a:", "    result += value", "return result")),
    ("count_items", "counts the items of a list", ("items",), ("count = 0", "for item in $a:", "    count += 1", "return count")),
    ("factorial", "computes the factorial", ("n",), ("if $a <= 1:", "    return 1", "return $a * factorial($a - 1)")),
    ("fibonacci", "computes a Fibonacci number", ("n",), ("if $a < 2:", "    return $a", "return fibonacci($a - 1) + fibonacci($a - 2)")),
    ("largest", "returns the largest item of a list", ("items",), ("best = $a[0]", "for item in $a:", "    if item > best:", "        best = item", "return best")),
    ("reverse", "reverses a text", ("text",), ("return $a[::-1]",)),
    ("first", "returns the first item of a list", ("items",), ("return $a[0]",)),
    ("last", "returns the last item of a list", ("items",), ("return $a[-1]",)),
    ("is_empty", "tells whether a list is empty", ("items",), ("return len($a) == 0",)),
    ("length", "returns the length of a list", ("items",), ("return len($a)",)),
    ("evens", "returns the even numbers of a list", ("numbers",), ("return [n for n in $a if n % 2 == 0]",)),
    ("contains", "tells whether a list contains an item", ("items", "item"), ("return $b in $a",)),
    ("join_words", "joins a list of words", ("words",), ('return " ".join($a)',)),
    ("to_upper", "turns a text into capitals", ("text",), ("return $a.upper()",)),
)  # fmt: skip
OTHER_NAMES = (
    ("x", "y"),
    ("a", "b"),
    ("first", "second"),
    ("left", "right"),
    ("m", "n"),
    ("p", "q"),
    ("u", "v"),
    ("value", "other"),
)


def _parameter_names(draw: Draw) -> tuple[str, str]:
    """Two different names: usual ones, letters, or any words."""
    match draw.number(0, 2):
        case 0:
            return draw.pick(OTHER_NAMES)
        case 1:
            first, second = draw.some(ascii_lowercase, 2)
        case _:
            first, second = draw.some(words.NOUNS, 2)
    return first, second


def _function(draw: Draw) -> tuple[list[str], str, str, str]:
    """The lines of a function, its name, what it does, and its parameters; parameters are renamed at times."""
    name, about, parameters, body = draw.pick(FUNCTIONS)
    if draw.chance(0.5):
        parameters = draw.fresh(lambda: _parameter_names(draw))[: len(parameters)]
    values = {"a": parameters[0], "b": parameters[-1]}
    shown = ", ".join(parameters)
    lines = [f"def {name}({shown}):"]
    lines += ["    " + draw.fill(line.replace("[", "\0").replace("]", "\1"), **values) for line in body]
    return [line.replace("\0", "[").replace("\1", "]") for line in lines], name, about, shown


def infill_sample(draw: Draw) -> Raw:
    """A function with a span missing, in the order that llama-server's `/infill` sends: prefix, suffix, middle."""
    lines, name, _, parameters = _function(draw)
    text = "\n".join(lines) + "\n"
    head = len(lines[0]) + 1
    if draw.chance(0.35):  # the whole body, with a call after it
        before, middle, after = text[:head] + "    ", text[head + 4 : -1], f"\n\nprint({name}({parameters}))\n"
        if draw.chance(0.4):
            after = "\n"
    else:
        start = draw.number(head + 4, len(text) - 3)
        while text[start] in " \n":
            start += 1
        end = text.index("\n", start)
        before, middle, after = text[:start], text[start:end], text[end:]
    prompt = f"<|fim_prefix|>{before}<|fim_suffix|>{after}<|fim_middle|>"
    if draw.chance(0.5):
        prompt = f"<|repo_name|>myproject\n<|file_sep|>filename\n{prompt}"
    return Raw("infill", prompt, middle, "exact")


def code_turn(draw: Draw) -> Turn:
    """A request to write one of the functions."""
    lines, name, about, _ = _function(draw)
    pattern = (
        "[Write|Give me|Show me] a [Python |]function [that|which] $about."
        if draw.chance(0.7)
        else "[Write|Show me] the function $name in Python."
    )
    user = draw.ask(pattern, about=about, name=name)
    reply = "```python\n" + "\n".join(lines) + "\n```"
    return Turn("code", user, reply, f"I write the function {name}.", "must", (f"def {name}(",))


def plain_sample(draw: Draw) -> Raw:
    """Plain text for the completion endpoints: a function, a fact or a story, cut somewhere."""
    match draw.number(0, 2):
        case 0:
            lines, *_ = _function(draw)
            return Raw("plain", lines[0] + "\n", "\n".join(lines[1:]) + "\n")
        case 1:
            country, town = draw.pick(list(facts.CAPITALS.items()))
            return Raw("plain", f"The capital of {country} is", f" {town}.", "exact")
        case _:
            text = story(draw, draw.pick(("cat", "dog", "llama", "fox", "king", "child", "robot")), draw.name())
            cut = text.index(" ", draw.number(8, 60))
            return Raw("plain", text[:cut], text[cut:])
