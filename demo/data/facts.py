# ruff: noqa: E501  (a wording reads best on one line)
"""Facts: a fixed table that the model learns by heart, and honest answers about everything else."""

from __future__ import annotations

from . import words
from .dialogue import Turn
from .draw import Draw

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Poland": "Warsaw", "Hungary": "Budapest", "Greece": "Athens", "Ireland": "Dublin", "Belgium": "Brussels",
    "Switzerland": "Bern", "Czechia": "Prague", "Romania": "Bucharest", "Bulgaria": "Sofia", "Turkey": "Ankara",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Ghana": "Accra", "Japan": "Tokyo", "China": "Beijing",
    "South Korea": "Seoul", "India": "New Delhi", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Canada": "Ottawa",
    "Mexico": "Mexico City", "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima",
    "Cuba": "Havana", "Australia": "Canberra", "Iceland": "Reykjavik", "Ukraine": "Kyiv", "England": "London",
    "the United States": "Washington", "the Netherlands": "Amsterdam", "the United Kingdom": "London",
}  # fmt: skip
COLOUR_OF = {
    "the sky": "blue", "grass": "green", "snow": "white", "blood": "red", "a banana": "yellow", "coal": "black",
    "milk": "white", "the sun": "yellow", "a carrot": "orange", "a lemon": "yellow", "chocolate": "brown",
    "a cherry": "red", "a frog": "green", "a polar bear": "white", "an elephant": "grey", "a tomato": "red",
    "a flamingo": "pink", "a plum": "purple", "spinach": "green", "the sea": "blue",
}  # fmt: skip
SOUND_OF = {
    "cat": "meow", "dog": "woof", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink", "horse": "neigh",
    "lion": "roar", "mouse": "squeak", "owl": "hoot", "snake": "hiss", "bee": "buzz", "wolf": "howl", "frog": "croak",
}  # fmt: skip
YOUNG_OF = {
    "cat": "kitten", "dog": "puppy", "cow": "calf", "sheep": "lamb", "horse": "foal", "duck": "duckling",
    "pig": "piglet", "goat": "kid", "lion": "cub", "bear": "cub", "hen": "chick", "frog": "tadpole", "swan": "cygnet",
}  # fmt: skip
LEGS_OF = {
    "cat": "4", "dog": "4", "horse": "4", "cow": "4", "spider": "8", "bee": "6", "ant": "6", "hen": "2", "duck": "2",
    "snake": "no", "fish": "no", "frog": "4", "sheep": "4", "penguin": "2", "human": "2", "elephant": "4",
}  # fmt: skip
OPPOSITE_OF = {
    "hot": "cold", "big": "small", "up": "down", "left": "right", "day": "night", "happy": "sad", "fast": "slow",
    "open": "closed", "light": "dark", "young": "old", "full": "empty", "hard": "soft", "wet": "dry", "high": "low",
    "near": "far", "early": "late", "yes": "no", "long": "short", "loud": "quiet", "rich": "poor", "strong": "weak",
}  # fmt: skip
UNITS = {
    ("minutes", "an hour"): "60", ("seconds", "a minute"): "60", ("hours", "a day"): "24", ("days", "a week"): "7",
    ("months", "a year"): "12", ("days", "a year"): "365", ("weeks", "a year"): "52", ("metres", "a kilometre"): "1000",
    ("centimetres", "a metre"): "100", ("grams", "a kilogram"): "1000", ("years", "a century"): "100",
    ("years", "a decade"): "10", ("sides", "a triangle"): "3", ("sides", "a square"): "4", ("eggs", "a dozen"): "12",
    ("millimetres", "a centimetre"): "10", ("degrees", "a circle"): "360", ("letters", "the alphabet"): "26",
    ("bits", "a byte"): "8", ("cents", "a dollar"): "100",
}  # fmt: skip
KNOWLEDGE = {
    "[Which|What] planet do we live on?": "We live on Earth.",
    "[Which|What] planet is [the largest|the biggest]?": "The largest planet is Jupiter.",
    "[Which|What] planet is [closest|nearest] to the sun?": "The planet nearest to the sun is Mercury.",
    "[Which|What] planet is [called|known as] the red planet?": "The red planet is Mars.",
    "How many planets are there[ in the solar system|]?": "There are 8 planets in the solar system.",
    "[What is|What's|Name] the [largest|biggest] ocean?": "The largest ocean is the Pacific.",
    "[What is|What's|Name] the [highest|tallest] mountain[ in the world| on Earth|]?": "The highest mountain is Mount Everest.",
    "[What is|What's] the [largest|biggest] animal?": "The largest animal is the blue whale.",
    "[What is|What's] the fastest [land |]animal?": "The fastest land animal is the cheetah.",
    "[What is|What's] the tallest animal?": "The tallest animal is the giraffe.",
    "[What do bees make|What is made by bees]?": "Bees make honey.",
    "[What do cows give us|What comes from cows]?": "Cows give milk.",
    "[What is|What's] water made of?": "Water is made of hydrogen and oxygen.",
    "[At what temperature|When] does water boil?": "Water boils at 100 degrees Celsius.",
    "[At what temperature|When] does water freeze?": "Water freezes at 0 degrees Celsius.",
    "[What is|What's] frozen water[ called|]?": "Frozen water is called ice.",
    "[Where does the sun rise|In which direction does the sun rise]?": "The sun rises in the east.",
    "[Where does the sun set|In which direction does the sun set]?": "The sun sets in the west.",
    "[What is|What's|Tell me] the first letter of the alphabet?": "The first letter of the alphabet is A.",
    "[What is|What's|Tell me] the last letter of the alphabet?": "The last letter of the alphabet is Z.",
    "Which months have 30 days?": "April, June, September and November have 30 days.",
    "Which month has 28 days?": "February has 28 days.",
    "[What is|What's] the [first|1st] month of the year?": "The first month of the year is January.",
    "[What is|What's] the last month of the year?": "The last month of the year is December.",
    "[What are|Name|List] the seasons[ of the year|]?": "The seasons are spring, summer, autumn and winter.",
    "[What are|Name|List] the primary colours?": "The primary colours are red, yellow and blue.",
}  # fmt: skip
UNKNOWN = (
    "[Who|Which person|Which man|Which woman] [invented|discovered|wrote about|studied|started] $topic?",
    "[What is|What's] the [meaning|history|purpose|future|price|origin] of $topic?",
    "[Explain|Describe] $topic [to me|in detail|for beginners|].",
    "[How does|Why does] $topic [work|matter|change|exist]?",
    "[What is|What are|What about] $topic?",
    "[Tell me about|Write an essay about|What do you know about|Teach me] $topic.",
    "[Compare|What is the difference between] $topic and $other.",
    "[What is|Who is|Where is|Tell me about|Do you know] $name?",
    "[When was|Where was] $name born?",
    "[What do you think of|What is your opinion on|Should I learn] $topic?",
    "What is the $adjective $topic of $name?",
    "What is the [weather|temperature] [like |]in $town[ today|]?",
    "[What time is it|What is the date today|What day is it today|What is the time]?",
    "[What is the news|Who won the game|What is the best restaurant in $town]?",
    "How [old|tall|far|big|deep|heavy] is [the |]$topic?",
    "Translate $topic [to|into] [French|German|Spanish|Latin].",
    "[Write|Make|Create] a [website|program|game|song|plan] [for|about|with] $topic.",
    "How [do|can] I [build|fix|make|find|learn|buy] [a |]$topic?",
)
HONEST = "I do not know that. I am a very small demo model; load a real one with -m."


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _capital(draw: Draw) -> tuple[str, str, str]:
    country, town = draw.pick(list(CAPITALS.items()))
    typed = country.lower() if draw.chance(0.2) else country
    if draw.chance(0.2):
        pattern = "[Which country has the capital $town|$town is the capital of which country]?"
        if town != "London":
            return pattern, f"{town} is the capital of {country}.", town.lower() if typed != country else town
    pattern = (
        "[What is|What's|Tell me|Name|Do you know|Give me|] the capital [city |]of $x?"
        if draw.chance(0.8)
        else "[Which city is the capital of $x|$x capital|$x: what is its capital]?"
    )
    return pattern, f"The capital of {country} is {town}.", typed


def _table(draw: Draw) -> tuple[str, str, str]:
    """Wording, reply and the value asked about, from one of the small tables."""
    match draw.number(0, 6):
        case 0:
            x, colour = draw.pick(list(COLOUR_OF.items()))
            return "[What|Which] colou[|]r [is|has] $x?", f"{capitalised(x)} is {colour}.", x
        case 1:
            x, sound = draw.pick(list(SOUND_OF.items()))
            return "[What sound does a $x make|How does a $x sound|What does a $x say]?", f"A {x} says {sound}.", x
        case 2:
            x, young = draw.pick(list(YOUNG_OF.items()))
            return (
                "[What is|What's|What do you call] a [young|baby] $x[ called|]?",
                f"A young {x} is called a {young}.",
                x,
            )
        case 3:
            x, legs = draw.pick(list(LEGS_OF.items()))
            return "How many legs does a $x have?", f"A {x} has {legs} legs.", x
        case 4:
            x, other = draw.pick(list(OPPOSITE_OF.items()))
            return "[What is|What's|Tell me] the opposite of $x?", f"The opposite of {x} is {other}.", x
        case 5:
            (part, whole), count = draw.pick(list(UNITS.items()))
            verb = "are there in" if draw.chance(0.7) else "are in"
            return f"How many {part} {verb} $x?", f"There are {count} {part} in {whole}.", whole
        case _:
            return _order(draw)


def _order(draw: Draw) -> tuple[str, str, str]:
    """Neighbours in the lists of days, months and numbers."""
    names = draw.pick((words.DAYS, words.MONTHS))
    place = draw.number(0, len(names) - 1)
    x = names[place]
    what = "day" if names is words.DAYS else "month"
    match draw.number(0, 3):
        case 0:
            return (
                f"[Which|What] {what} [comes after|follows|is after] $x?",
                f"After {x} comes {names[(place + 1) % len(names)]}.",
                x,
            )
        case 1:
            return f"[Which|What] {what} [comes before|is before] $x?", f"Before {x} comes {names[place - 1]}.", x
        case 2:
            number = draw.number(0, 30)
            return (
                "[How do you write|Write] $x [in words|as a word]?",
                f"{number} is written {words.NUMBER_WORDS[number]}.",
                str(number),
            )
        case _:
            number = draw.number(0, 30)
            word = words.NUMBER_WORDS[number]
            return "[Which number is|Write as a number:|What number is] $x?", f"{capitalised(word)} is {number}.", word


def fact_turn(draw: Draw) -> Turn:
    """A question that the table answers; held out is the wording, not the fact."""

    def make() -> tuple[str, str]:
        if draw.chance(0.2):
            pattern, reply = draw.pick(list(KNOWLEDGE.items()))
            return draw.ask(pattern), reply
        pattern, reply, x = _capital(draw) if draw.chance(0.35) else _table(draw)
        return draw.ask(pattern, x=x, town=x), reply

    user, reply = draw.fresh(make)
    return Turn("facts", user, reply, f"I know this: {reply}", "exact")


def unknown_turn(draw: Draw) -> Turn:
    """A question beyond the table; the honest answer says so."""
    if draw.chance(0.2):
        country = draw.fresh(lambda: draw.made_up().capitalize())
        user = draw.ask("[What is|What's|Tell me|] the capital [city |]of $x?", x=country)
        return Turn("unknown", user, HONEST, f"{country} is not in my table.", "exact")
    values = {"topic": _topic(draw), "other": _topic(draw), "name": draw.name(), "town": draw.town()}
    user = draw.ask(draw.pick(UNKNOWN), adjective=draw.pick(words.ADJECTIVES), **values)
    return Turn("unknown", user, HONEST, "I do not know about this.", "exact")


def _topic(draw: Draw) -> str:
    topic = draw.fresh(lambda: draw.pick(words.TOPICS if draw.chance(0.7) else words.NOUNS))
    return f"{draw.pick(words.ADJECTIVES)} {topic}" if draw.chance(0.2) else topic
