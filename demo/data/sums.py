"""Sums: addition, subtraction and the small times table, written out by columns where the numbers are long."""

from __future__ import annotations

from . import words
from .dialogue import Turn
from .draw import Draw

PLACES = ("Ones", "Tens", "Hundreds")
PLUS = (
    "[What is|What's|Calculate|Compute|How much is|Add up|] $a + $b[?|]",
    "[What is|What's|How much is|Calculate] $a plus $b?",
    "[Add|Please add|Can you add] $a and $b.",
    "[What is|Tell me|Give me] the sum of $a and $b?",
    "$a+$b[?|=|]",
    "$a + $b =",
)
MINUS = (
    "[What is|What's|Calculate|Compute|How much is|] $a - $b[?|]",
    "[What is|What's|How much is|Calculate] $a minus $b?",
    "[Subtract|Take|Take away] $b from $a.",
    "[What is|Tell me|Give me] the difference [between|of] $a and $b?",
    "$a-$b[?|=|]",
    "$a - $b =",
)
TIMES = (
    "[What is|What's|Calculate|How much is|] $a [*|x|times] $b[?|]",
    "[Multiply $a by $b|Multiply $a and $b].",
    "[What is|Tell me] the product of $a and $b?",
)
GAIN = (
    "I have $a $things and [buy|get|find|receive] $b more. How many $things do I have[ now|]?",
    "There are $a $things in a [box|bag|room]. I [add|put in] $b more. How many $things are there[ now|]?",
    "$name has $a $things and [buys|gets|finds] $b more. How many $things does $name have[ now|]?",
)
LOSS = (
    "I have $a $things and [lose|sell|give away|eat] $b. How many $things [are left|do I have left|remain]?",
    "There are $a $things in a [box|bag|room]. I take [away|out] $b. How many $things [are left|remain]?",
    "$name has $a $things and [loses|sells|gives away] $b. How many $things [are left|does $name have left]?",
)


def digit(number: int, place: int) -> int:
    return number // 10**place % 10


def columns(a: int, sign: str, b: int) -> str:
    """The sum worked out from the ones upwards, as a pupil writes it down; for `-`, a >= b."""
    steps = []
    carry = 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = digit(a, place), digit(b, place)
        extra = f" {sign} 1" if carry else ""
        if sign == "-" and x - y - carry < 0:
            x, carry_next = x + 10, 1
        else:
            carry_next = 0
        result = x + y + carry if sign == "+" else x - y - carry
        steps.append(f"{PLACES[place]}: {x} {sign} {y}{extra} = {result}.")
        carry = result // 10 if sign == "+" else carry_next
    return " ".join(steps)


def _operands(draw: Draw, sign: str, n_digits: int) -> tuple[int, int]:
    """Two numbers of up to `n_digits` digits, one of them of just as many; mostly without a negative result."""
    high = 10**n_digits - 1
    low = 10 ** (n_digits - 1) if n_digits > 1 else 0
    first = draw.number(low, high)
    second = draw.number(low, high) if draw.chance(0.7) else draw.number(0, high)
    if sign == "+":
        return (first, second) if draw.chance(0.7) else (second, first)
    large, small = max(first, second), min(first, second)
    return (small, large) if n_digits < 3 and draw.chance(0.1) else (large, small)


def sum_turn(draw: Draw) -> Turn:
    """One sum as a bare question."""
    roll = draw.random.random()
    if roll < 0.1:
        return _product(draw)
    if roll < 0.13:
        return _too_large(draw)
    sign = draw.pick("++-")
    n_digits = draw.pick((1, 2, 2, 2, 2, 3, 3))
    a, _, b = draw.fresh(lambda: _pair(_operands(draw, sign, n_digits), sign))
    user = draw.ask(draw.pick(PLUS if sign == "+" else MINUS), a=a, b=b)
    return _solved(user, a, sign, b, f"{a} {sign} {b} = {a + b if sign == '+' else a - b}.")


def _pair(operands: tuple[int, int], sign: str) -> tuple[int, str, int]:
    return operands[0], sign, operands[1]


def _solved(user: str, a: int, sign: str, b: int, answer: str) -> Turn:
    """The turn of a sum: from two digits on it is worked out in the open, or in the thought when one is asked for."""
    work = columns(a, sign, b) if a >= b or sign == "+" else columns(b, sign, a)
    # any reply with the right result counts, with or without the work before it
    must = (answer.lower(),)
    if max(a, b) < 10:
        return Turn("sums", user, answer, work, "must", must)
    return Turn("sums", user, f"{work} So {answer[0].lower() + answer[1:]}", work, "must", must, brief=answer)


def _product(draw: Draw) -> Turn:
    a, b = draw.number(0, 10), draw.number(0, 10)
    user = draw.fresh(lambda: draw.ask(draw.pick(TIMES), a=a, b=b))
    reply = f"{a} * {b} = {a * b}."
    return Turn("sums", user, reply, f"From the times table: {reply}", "must", (reply,))


def _too_large(draw: Draw) -> Turn:
    a, b = draw.digits(4, 7), draw.digits(3, 7)
    user = draw.ask(draw.pick(PLUS + MINUS), a=a, b=b)
    reply = "I can only work with numbers up to 999."
    return Turn("sums", user, reply, f"{max(a, b)} is too large for me.", "exact")


def story_sum_turn(draw: Draw) -> Turn:
    """A sum told as a short story, with numbers below 100."""
    sign = draw.pick("+-")
    a, _, b = draw.fresh(lambda: _pair(_operands(draw, sign, draw.pick((1, 2, 2))), sign))
    if sign == "-" and a < b:
        a, b = b, a
    things = draw.pick([thing for thing in words.THINGS if not thing.endswith(("y", "h"))]) + "s"
    user = draw.ask(draw.pick(GAIN if sign == "+" else LOSS), a=a, b=b, things=things, name=draw.name())
    result = a + b if sign == "+" else a - b
    turn = _solved(user, a, sign, b, f"{a} {sign} {b} = {result}.")
    end = f" There are {result} {things}." if sign == "+" else f" That leaves {result} {things}."
    brief = turn.brief and turn.brief + end
    return Turn("sums", user, turn.reply + end, turn.thought, "must", (f"{result} {things}",), brief=brief)
