# ruff: noqa: E501  (a wording reads best on one line)
"""Recall: what the user told earlier, near or far back, and copying of what stands in the question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import words
from .dialogue import Turn
from .draw import Draw


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something a user may tell; `$v` is the value in every wording."""

    key: str
    value: Callable[[Draw], object]
    tell: tuple[str, ...]
    noted: tuple[str, ...]
    ask: tuple[str, ...]
    answer: str
    missing: str


def _told(what: str, *more: str) -> tuple[str, ...]:
    """Wordings for `my X is V`."""
    return (f"[My {what} is|Note: my {what} is|Remember that my {what} is|By the way, my {what} is] $v.", *more)


def _asked(what: str, *more: str) -> tuple[str, ...]:
    """Wordings for `what is my X`."""
    return (f"[What is|What's|Tell me|Do you remember|Do you know|What was|Can you tell me] my {what}?", *more)


def _simple(what: str, value: Callable[[Draw], object], *tell: str) -> Attribute:
    return Attribute(
        what, value, _told(what, *tell), (f"Noted: your {what} is $v.",), _asked(what), f"Your {what} is $v.",
        f"You have not told me your {what} yet.",
    )  # fmt: skip


ATTRIBUTES = (
    Attribute(
        "name",
        Draw.name,
        _told("name", "[I am|I'm|Call me|You can call me|Hello, I am|Hi, my name is|Hello! My name is|Hi, I'm] $v."),
        ("Nice to meet you, $v!", "Hello $v! How can I help you?"),
        _asked("name", "[Who am I|How am I called|What am I called|Say my name]?"),
        "Your name is $v.",
        "You have not told me your name yet.",
    ),
    Attribute(
        "number",
        lambda draw: draw.digits(2, 6),
        ("[Remember|Please remember|Keep in mind|Note|Memorise|Store|Save] the number $v.", "[The|My|The secret] number is $v."),
        ("I will remember $v.",),
        ("[Which|What] number did I [tell you|give you|ask you to remember|say|mention]?", "[What was|What is|Tell me] [the|my|the secret] number?"),
        "The number is $v.",
        "You have not told me a number yet.",
    ),
    Attribute(
        "code word",
        Draw.word,
        ("[Remember|Please remember|Keep in mind|Note|Memorise] the [code word|word|password] $v.", "[The|My|The secret] [code word|password|word] is $v."),
        ("I will remember $v.",),
        ("[Which|What] [code word|word|password] did I [tell you|give you|say]?", "[What was|What is|Tell me] [the|my|the secret] [code word|word|password]?"),
        "The word is $v.",
        "You have not told me a word yet.",
    ),
    Attribute(
        "town",
        Draw.town,
        ("[I live in|I come from|My home is in|My home town is|I am from|My city is] $v.",),
        ("$v sounds like a nice place.",),
        ("[Where do I live|Where am I from|Where do I come from|In which city do I live|What is my home town|What is my city]?",),
        "You live in $v.",
        "You have not told me where you live.",
    ),
    Attribute(
        "age",
        lambda draw: draw.fresh(lambda: draw.number(5, 99)),
        ("[I am|I'm] $v years old.", "My age is $v."),
        ("Noted: you are $v years old.",),
        ("[How old am I|What is my age|What's my age|Do you know my age]?",),
        "You are $v years old.",
        "You have not told me your age yet.",
    ),
    Attribute(
        "job",
        lambda draw: draw.pick(words.JOBS),
        ("[I am|I work as] a $v.", "My job is $v."),
        ("Noted: you work as a $v.",),
        ("[What is my job|What do I do for a living|What is my profession|What do I work as]?",),
        "You work as a $v.",
        "You have not told me your job yet.",
    ),
    _simple("favourite colour", lambda draw: draw.pick(words.COLOURS)),
    _simple("favourite food", lambda draw: draw.pick(words.FOODS)),
    _simple("favourite animal", lambda draw: draw.pick(words.ANIMALS)),
    _simple("dog's name", Draw.name, "[I have a dog called|My dog is called|I have a dog named] $v."),
    _simple("cat's name", Draw.name, "[I have a cat called|My cat is called|I have a cat named] $v."),
    _simple("sister's name", Draw.name, "[My sister is called|My sister is|I have a sister called] $v."),
    _simple("brother's name", Draw.name, "[My brother is called|My brother is|I have a brother called] $v."),
    _simple("friend's name", Draw.name, "[My friend is called|My best friend is|I have a friend called] $v."),
    _simple("lucky number", lambda draw: draw.digits(1, 4)),
    _simple("phone number", lambda draw: draw.digits(5, 8)),
    _simple("room number", lambda draw: draw.digits(2, 3)),
    _simple("favourite word", Draw.word),
)  # fmt: skip


class Told:
    """What the user has told in this conversation so far: the value of each attribute."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def tell(self, draw: Draw) -> Turn:
        """A turn that tells something new, or corrects something."""
        attribute = draw.pick(ATTRIBUTES[:4] if draw.chance(0.5) else ATTRIBUTES)
        value = attribute.value(draw)
        wording = draw.pick(attribute.tell)
        if attribute.key in self.values and value != self.values[attribute.key]:
            wording = (
                "[Actually, |No, |Correction: |Sorry, ]" + wording[:1].lower() + wording[1:]
                if wording[0] != "["
                else wording
            )
        self.values[attribute.key] = value
        return Turn(
            "recall", draw.ask(wording, v=value), draw.fill(draw.pick(attribute.noted), v=value),
            f"The user tells me: {attribute.key} = {value}.", "must", (str(value),),
        )  # fmt: skip

    def ask(self, draw: Draw, label: str = "recall") -> Turn:
        """A turn that asks for something told, or now and then for something that was not."""
        known = [attribute for attribute in ATTRIBUTES if attribute.key in self.values]
        unknown = [attribute for attribute in ATTRIBUTES if attribute.key not in self.values]
        if not known or (unknown and draw.chance(0.18)):
            attribute = draw.pick(unknown)
            thought = f"The user has not told me: {attribute.key}."
            return Turn(label, draw.ask(draw.pick(attribute.ask)), attribute.missing, thought, "exact")
        attribute = draw.pick(known)
        value = self.values[attribute.key]
        reply = draw.fill(attribute.answer, v=value)
        thought = f"The user told me: {attribute.key} = {value}."
        return Turn(label, draw.ask(draw.pick(attribute.ask)), reply, thought, "exact")


def one_message_turn(draw: Draw) -> Turn:
    """Told and asked in one message."""
    attribute = draw.pick(ATTRIBUTES)
    value = attribute.value(draw)
    user = draw.ask(draw.pick(attribute.tell), v=value).rstrip(" .?!:)") + ". " + draw.ask(draw.pick(attribute.ask))
    thought = f"The user told me: {attribute.key} = {value}."
    return Turn("recall", user, draw.fill(attribute.answer, v=value), thought, "exact")


def repeat_turn(draw: Draw) -> Turn:
    """Copying: the user wants some words or numbers said again."""
    count = draw.pick((1, 1, 2, 3, 4, 5, 6))
    items = [str(draw.digits(1, 5)) if draw.chance(0.3) else _any_word(draw) for _ in range(count)]
    text = draw.pick((" ", " ", ", ")).join(items)
    pattern = draw.pick(
        (
            "[Repeat|Say|Echo|Write|Repeat after me|Say this|Print]: $text",
            '[Repeat|Say|Write] "$text"[.|]',
            "[Say|Repeat] $text",
        )
    )
    return Turn("repeat", draw.ask(pattern, text=text).rstrip(), text, f"I repeat: {text}", "exact")


def _any_word(draw: Draw) -> str:
    match draw.number(0, 3):
        case 0:
            return draw.name()
        case 1:
            return draw.fresh(draw.made_up)
        case _:
            return draw.word()


HAS = (
    ("[has|owns] a", lambda draw: f"{draw.pick(words.COLOURS)} {draw.pick(words.VEHICLES)}", "What does $name [have|own]?", "$name has a $v."),
    ("lives in", Draw.town, "Where does $name live?", "$name lives in $v."),
    ("works as a", lambda draw: draw.pick(words.JOBS), "What [does $name work as|is the job of $name]?", "$name works as a $v."),
    ("likes", lambda draw: draw.pick(words.FOODS), "What does $name like?", "$name likes $v."),
    ("plays the", lambda draw: draw.pick(words.INSTRUMENTS), "[Which instrument|What] does $name play?", "$name plays the $v."),
    ("is", lambda draw: f"{draw.number(5, 99)} years old", "How old is $name?", "$name is $v."),
)  # fmt: skip


def reading_turn(draw: Draw) -> Turn:
    """A few sentences about people, then a question about one of them, or about who it is."""
    names: list[str] = []
    while len(names) < draw.number(2, 5):
        name = draw.name()
        if name not in names:
            names.append(name)
    verb, value, question, answer = draw.pick(HAS)
    values: list[str] = []
    while len(values) < len(names):
        candidate = str(value(draw))
        if candidate not in values:
            values.append(candidate)
    verb = draw.expand(verb)
    text = " ".join(f"{name} {verb} {v}." for name, v in zip(names, values, strict=True))
    place = draw.number(0, len(names) - 1)
    name, v = names[place], values[place]
    if draw.chance(0.3):
        user = f"{text} {draw.ask(f'Who {verb} $v?', v=v)}"
        return Turn("recall", user, f"{name} {verb} {v}.", f"The text says: {name} {verb} {v}.", "must", (name,))
    user = f"{text} {draw.ask(question, name=name)}"
    return Turn("recall", user, draw.fill(answer, name=name, v=v), f"The text says: {name} {verb} {v}.", "must", (v,))
