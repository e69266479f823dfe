"""Shapes: answers as JSON with the fields that were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import facts, words
from .dialogue import Turn
from .draw import Draw

Record = tuple[str, dict[str, Any]]  # a sentence, and its content under the usual field names


def _person(draw: Draw) -> Record:
    name, age, town, job = draw.name(), draw.number(5, 99), draw.town(), draw.pick(words.JOBS)
    text = draw.pick(
        (
            f"{name} is {age} years old, lives in {town} and works as a {job}.",
            f"{name}, a {job} from {town}, is {age}.",
            f"{name} ({age}) is a {job} in {town}.",
            f"My friend {name} is a {age} year old {job} from {town}.",
        )
    )
    return text, {"name": name, "age": age, "city": town, "job": job}


def _product(draw: Draw) -> Record:
    colour, thing, price, count = draw.pick(words.COLOURS), draw.word(), draw.digits(1, 3), draw.number(1, 60)
    text = draw.pick(
        (
            f"The {colour} {thing} costs {price} dollars and {count} are in stock.",
            f"We have {count} pieces of the {colour} {thing} for {price} dollars.",
            f"A {colour} {thing} is sold for {price} dollars; there are {count} left.",
        )
    )
    return text, {"product": thing, "colour": colour, "price": price, "stock": count}


def _event(draw: Draw) -> Record:
    what = draw.pick(("concert", "meeting", "party", "lesson", "match", "dinner", "workshop", "talk"))
    day, hour, town = draw.pick(words.DAYS), draw.number(1, 12), draw.town()
    text = draw.pick(
        (
            f"The {what} is on {day} at {hour} in {town}.",
            f"On {day} at {hour} there is a {what} in {town}.",
            f"There will be a {what} in {town} on {day} at {hour}.",
        )
    )
    return text, {"event": what, "day": day, "hour": hour, "place": town}


def _pet(draw: Draw) -> Record:
    animal, name, age, colour = draw.pick(words.ANIMALS), draw.name(), draw.number(1, 20), draw.pick(words.COLOURS)
    text = draw.pick(
        (
            f"My {colour} {animal} {name} is {age} years old.",
            f"{name} is a {colour} {animal} of {age} years.",
            f"I have a {colour} {animal} called {name}, which is {age}.",
        )
    )
    return text, {"name": name, "animal": animal, "age": age, "colour": colour}


def _book(draw: Draw) -> Record:
    title = f"The {draw.pick(words.ADJECTIVES).capitalize()} {draw.word().capitalize()}"
    author, year = draw.name(), draw.number(1900, 2026)
    text = draw.pick(
        (
            f"{author} wrote {title} in {year}.",
            f"{title} was written by {author} in {year}.",
            f"The book {title} by {author} came out in {year}.",
        )
    )
    return text, {"title": title, "author": author, "year": year}


def _list_of_values(draw: Draw) -> Record:
    """Any keys with any values, as `key: value` or `key is value`."""
    content: dict[str, Any] = {}
    for _ in range(draw.number(1, 5)):
        content[draw.word()] = draw.digits(1, 4) if draw.chance(0.5) else draw.pick((draw.name, draw.word, draw.town))()
    link, gap = draw.pick(((": ", ", "), (" is ", ", "), (" = ", "; "), (": ", "\n")))
    return gap.join(f"{key}{link}{value}" for key, value in content.items()), content


RECORDS: tuple[Callable[[Draw], Record], ...] = (
    _person,
    _product,
    _event,
    _pet,
    _book,
    _list_of_values,
    _list_of_values,
)
BY_FIELDS = (
    "[Return|Give me|Answer with|Write|Output] JSON with the [fields|keys] $fields: $text",
    "[Extract|Find|Get] $fields [as JSON|in JSON] from [this text|this|the text]: $text",
    "[Turn this into|Convert this to|Write this as] JSON with $fields: $text",
    "$text [Answer as|Write it as|Return|Reply with] JSON with the [fields|keys] $fields.",
    "$text [Give me|Extract] $fields as JSON.",
)
BY_SHAPE = (
    "[Answer|Reply|Respond] [only |]as JSON like $shape: $text",
    "[Fill|Complete|Use] this [JSON|shape|form]: $shape for: $text",
    "$text [Answer|Reply|Write it] [in|as] JSON of the [form|shape] $shape",
    "[Return|Give me] $shape for this text: $text",
)
WHOLE = (
    "[Write|Give me|Return|Turn into|Convert to] [as |]JSON: $text",
    "[Make|Write] a JSON object[ from| with|]: $text",
    "As JSON: $text",
)


def _shape(draw: Draw, content: dict[str, Any]) -> str:
    """A sample of the wanted object: by type names, by empty values, or by dots."""
    style = draw.number(0, 2)

    def sample(value: Any) -> str:
        number = isinstance(value, int)
        if style == 0:
            return ("number" if number else "string") if draw.chance(0.8) else "..."
        return ("0" if number else '""') if style == 1 else "..."

    return "{" + ", ".join(f'"{key}": {sample(value)}' for key, value in content.items()) + "}"


def _chosen(draw: Draw, content: dict[str, Any]) -> dict[str, Any]:
    """Some of the fields, mostly in the order of the record."""
    keys = list(content)
    kept = set(draw.some(keys, draw.number(min(2, len(keys)), len(keys))))
    order = [key for key in keys if key in kept]
    if draw.chance(0.3):
        draw.random.shuffle(order)
    return {key: content[key] for key in order}


def _fields(draw: Draw, content: dict[str, Any]) -> str:
    keys = [f'"{key}"' for key in content] if draw.chance(0.15) else list(content)
    return keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + " and " + keys[-1]


def _json_turn(user: str, content: Any, keys: str) -> Turn:
    reply = json.dumps(content, ensure_ascii=False)
    return Turn("json", user, reply, f"The fields are {keys}.", "json")


def json_turn(draw: Draw) -> Turn:
    """A text whose content is wanted as a JSON object."""
    if draw.chance(0.12):
        return _fact_as_json(draw)
    if draw.chance(0.1):
        return _array(draw)
    make = draw.pick(RECORDS)
    text, content = make(draw)
    if make is _list_of_values and draw.chance(0.6):
        return _json_turn(draw.ask(draw.pick(WHOLE), text=text), content, ", ".join(content))
    content = _chosen(draw, content)
    if draw.chance(0.5):
        user = draw.ask(draw.pick(BY_FIELDS), text=text, fields=_fields(draw, content))
    else:
        user = draw.ask(draw.pick(BY_SHAPE), text=text, shape=_shape(draw, content))
    return _json_turn(user, content, ", ".join(content))


def json_with_system(draw: Draw) -> tuple[str, Turn]:
    """A system prompt that fixes the shape, and a user who gives only the text."""
    text, record = draw.pick(RECORDS[:5])(draw)
    content = _chosen(draw, record)
    system = draw.fill(
        draw.pick(
            (
                "[Answer|Reply|Respond] only [with|in] JSON of the [form|shape] $shape.",
                "[You extract data.|You are an extractor.|] [Always answer|Answer] with JSON: $shape",
                "[Extract|Return] $fields as JSON.",
                "Answer only with JSON with the [fields|keys] $fields.",
            )
        ),
        shape=_shape(draw, content),
        fields=_fields(draw, content),
    ).strip()
    return system, _json_turn(text, content, ", ".join(content))


def _fact_as_json(draw: Draw) -> Turn:
    country, town = draw.pick(list(facts.CAPITALS.items()))

    def make() -> tuple[str, dict[str, str]]:
        key = draw.pick(("capital", "answer", "city"))
        pattern = (
            '[What is|Tell me|] the capital of $x? [Answer|Reply] [as|in] JSON[:| like| of the form|] {"$key": $v}'
        )
        return draw.ask(pattern, x=country, key=key, v=draw.pick(("string", '""', "..."))), {key: town}

    user, content = draw.fresh(make)
    return _json_turn(user, content, next(iter(content)))


def _array(draw: Draw) -> Turn:
    items: list[Any] = [draw.word() if draw.chance(0.6) else draw.name() for _ in range(draw.number(2, 6))]
    if draw.chance(0.3):
        items = [draw.digits(1, 3) for _ in items]
    text = draw.pick((", ", " ", " and ")).join(str(item) for item in items)
    user = draw.ask("[Write|Return|Give me] [as |]a JSON [array|list]: $text", text=text)
    return _json_turn(user, items, "an array")
