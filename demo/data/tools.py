# ruff: noqa: E501  (a wording reads best on one line)
"""Tools: described functions, questions that need one of them, their results, and questions that need none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import words
from .dialogue import Call, Turn
from .draw import Draw

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A described function. `$parameter` is its value in `ask`; `answer` may also use the fields of the result."""

    name: str
    about: str
    parameters: dict[str, Callable[[Draw], Any]]
    ask: tuple[str, ...]
    result: Callable[[Draw, Values], Values]
    answer: str
    must: tuple[str, ...]

    def schema(self, draw: Draw) -> dict[str, Any]:
        """The description as an OpenAI client sends it; details that clients leave out are left out sometimes."""
        detailed = draw.chance(0.4)
        properties: dict[str, Any] = {}
        for name, make in self.parameters.items():
            kind = "integer" if isinstance(make(draw), int) else "string"
            properties[name] = {"type": kind}
            if detailed:
                properties[name]["description"] = f"The {name.replace('_', ' ')}"
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if draw.chance(0.7):
            parameters["required"] = list(properties)
        # llama-server shows a missing description as an empty one
        about = self.about if draw.chance(0.9) else ""
        function = {"name": self.name, "description": about, "parameters": parameters}
        return {"type": "function", "function": function}


SKY = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy")
CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CHF", "SEK")
LANGUAGES = ("French", "German", "Spanish", "Italian", "Latin", "Dutch")


def _number(low: int, high: int) -> Callable[[Draw], int]:
    return lambda draw: draw.fresh(lambda: draw.number(low, high))


def _phrase(draw: Draw) -> str:
    return " ".join([draw.pick(words.ADJECTIVES), draw.word()][draw.number(0, 1) :])


TOOLS = (
    Tool(
        "get_weather", "Get the current weather in a city", {"city": Draw.town},
        ("[What is|What's|How is|Tell me] the weather [like |]in $city[ today| now|]?", "[Is it|Will it be] [sunny|cold|warm|rainy] in $city[ today|]?", "Weather in $city?"),
        lambda draw, v: {"temperature": draw.number(-9, 39), "condition": draw.pick(SKY)},
        "It is $temperature degrees and $condition in $city.", ("$temperature", "$condition"),
    ),
    Tool(
        "get_time", "Get the current time in a city", {"city": Draw.town},
        ("[What time is it|What is the time|Tell me the time] in $city[ now|]?",),
        lambda draw, v: {"time": f"{draw.number(0, 23):02}:{draw.number(0, 59):02}"},
        "It is $time in $city.", ("$time",),
    ),
    Tool(
        "add", "Add two numbers", {"a": _number(1, 9999), "b": _number(1, 9999)},
        ("[What is|Calculate|How much is] $a + $b?", "[Add|Please add] $a and $b.", "What is $a plus $b?"),
        lambda draw, v: {"result": v["a"] + v["b"]},
        "The result is $result.", ("$result",),
    ),
    Tool(
        "multiply", "Multiply two numbers", {"a": _number(2, 999), "b": _number(2, 999)},
        ("[What is|Calculate|How much is] $a [times|*|x] $b?", "Multiply $a [and|by] $b."),
        lambda draw, v: {"result": v["a"] * v["b"]},
        "The result is $result.", ("$result",),
    ),
    Tool(
        "send_email", "Send an email to a person", {"to": Draw.name, "subject": _phrase},
        ("[Send|Write] [an email|a mail|an e-mail] to $to [about|with the subject] $subject.", "[Email|Mail] $to about $subject."),
        lambda draw, v: {"status": "sent"},
        "I sent the email to $to.", ("$to",),
    ),
    Tool(
        "set_alarm", "Set an alarm", {"hour": _number(0, 23), "minute": _number(10, 59)},
        ("[Set an alarm|Wake me up|Set the alarm] [at|for] $hour:$minute.",),
        lambda draw, v: {"status": "ok"},
        "The alarm is set for $hour:$minute.", ("$hour:$minute",),
    ),
    Tool(
        "search", "Search the web", {"query": _phrase},
        ("[Search|Search the web|Look|Google] for $query.", "[Find|Look up] $query [online|on the web]."),
        lambda draw, v: {"hits": draw.number(2, 900)},
        "I found $hits results for $query.", ("$hits",),
    ),
    Tool(
        "play_music", "Play a song or an artist", {"artist": Draw.name},
        ("[Play|Put on|Play some|Play music by|Play a song by] $artist.",),
        lambda draw, v: {"status": "playing"},
        "Now playing $artist.", ("$artist",),
    ),
    Tool(
        "convert_currency", "Convert an amount of money",
        {"amount": _number(1, 999), "source": lambda draw: draw.pick(CURRENCIES), "target": lambda draw: draw.pick(CURRENCIES)},
        ("[Convert|Change] $amount $source [to|into] $target.", "How much is $amount $source in $target?"),
        lambda draw, v: {"amount": draw.number(1, 999), "currency": v["target"]},
        "That is $amount $currency.", ("$amount", "$currency"),
    ),
    Tool(
        "translate", "Translate a text", {"text": _phrase, "language": lambda draw: draw.pick(LANGUAGES)},
        ('Translate "$text" [to|into] $language.', "[How do you say|What is] $text in $language?"),
        lambda draw, v: {"translation": draw.made_up()},
        "In $language: $translation.", ("$translation",),
    ),
    Tool(
        "book_table", "Book a table in a restaurant",
        {"people": _number(1, 20), "day": lambda draw: draw.pick(words.DAYS)},
        ("[Book|Reserve] a table for $people [people |]on $day.",),
        lambda draw, v: {"confirmed": True, "code": draw.digits(3, 5)},
        "Your table is booked. The code is $code.", ("$code",),
    ),
    Tool(
        "turn_on", "Turn on a device in the house", {"device": Draw.word},
        ("[Turn on|Switch on|Start] the $device.",),
        lambda draw, v: {"status": "on"},
        "The $device is on.", ("on",),
    ),
    Tool(
        "get_stock_price", "Get the price of a stock", {"symbol": lambda draw: draw.fresh(lambda: draw.made_up(1, 2).upper())},
        ("[What is|Tell me|Get] the [stock |]price of $symbol?", "How much is a share of $symbol?"),
        lambda draw, v: {"price": draw.number(2, 999)},
        "$symbol is at $price.", ("$price",),
    ),
    Tool(
        "add_to_list", "Add an item to the shopping list", {"item": Draw.word, "count": _number(1, 40)},
        ("[Add|Put] $count $item [to|on] [my|the] [shopping |]list.",),
        lambda draw, v: {"status": "added"},
        "I put $count $item on the list.", ("$item",),
    ),
    Tool(
        "find_route", "Find the way from one place to another", {"start": Draw.town, "end": Draw.town},
        ("[How do I get|Find the way|Find a route|Show me the way] from $start to $end?",),
        lambda draw, v: {"distance": draw.number(5, 900), "unit": "km"},
        "From $start to $end it is $distance km.", ("$distance",),
    ),
    Tool(
        "create_note", "Save a note", {"text": _phrase},
        ("[Write down|Note|Make a note|Save a note|Create a note]: $text",),
        lambda draw, v: {"id": draw.digits(1, 4)},
        "I saved note $id.", ("$id",),
    ),
    Tool(
        "lookup_user", "Look up a user by id", {"user_id": _number(1, 99999)},
        ("[Who is|Look up|Find|Show me] user $user_id?", "[What is|Tell me] the name of user $user_id?"),
        lambda draw, v: {"name": draw.name(), "age": draw.number(18, 90)},
        "User $user_id is $name, $age years old.", ("$name", "$age"),
    ),
)  # fmt: skip
VERBS = (
    "open",
    "close",
    "check",
    "count",
    "move",
    "paint",
    "measure",
    "order",
    "print",
    "clean",
    "update",
    "delete",
    "scan",
)


def _invented_tool(draw: Draw) -> Tool:
    """A tool of a made-up purpose, so that names and parameters must be read and not remembered."""
    verb, noun = draw.pick(VERBS), draw.word()
    names = draw.some(words.NOUNS, draw.number(1, 3))
    makers = (Draw.name, Draw.word, Draw.town, _number(1, 9999), _number(1, 99))
    parameters = {name: draw.pick(makers) for name in names}
    details = " and ".join(f"{name} ${name}" for name in names)
    field = draw.pick(("result", "answer", "value", "status", "count"))
    result = draw.digits(1, 4) if draw.chance(0.5) else draw.made_up()
    return Tool(
        f"{verb}_{noun}", f"{verb.capitalize()} the {noun}", parameters,
        (f"[{verb.capitalize()}|Please {verb}|I want to {verb}] the {noun} with {details}.", f"{verb.capitalize()} the {noun}: {details}"),
        lambda _draw, _values: {field: result},
        f"The {field} is ${field}.", (f"${field}",),
    )  # fmt: skip


def offered(draw: Draw) -> tuple[list[dict[str, Any]], list[Tool]]:
    """One to three tools in random order: their descriptions, and themselves."""
    count = draw.pick((1, 1, 1, 2, 2, 3))
    chosen: dict[str, Tool] = {}
    while len(chosen) < count:
        tool = _invented_tool(draw) if draw.chance(0.35) else draw.pick(TOOLS)
        chosen[tool.name] = tool
    tools = list(chosen.values())
    return [tool.schema(draw) for tool in tools], tools


def tool_turn(draw: Draw, tool: Tool) -> Turn:
    """A question that needs `tool`, the call, its result, and the answer."""
    values = {name: make(draw) for name, make in tool.parameters.items()}
    if len(values) == 2 and len(set(values.values())) == 1:
        return tool_turn(draw, tool)
    result = tool.result(draw, values)
    known = {**values, **result}
    user = draw.ask(draw.pick(tool.ask), **values)
    reply = draw.fill(tool.answer, **known)
    must = tuple(draw.fill(text, **known) for text in tool.must)
    thought = f"I call {tool.name} with {json.dumps(values, ensure_ascii=False)}."
    return Turn("tools", user, reply, thought, "call", must, Call(tool.name, values, result))
