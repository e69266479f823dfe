# ruff: noqa: E501  (a wording reads best on one line)
"""Stories: longer answers, so that a reader sees the words arrive: stories, lists, counting, poems."""

from __future__ import annotations

from . import words
from .dialogue import Turn
from .draw import Draw

LISTS = {
    "animals": words.ANIMALS,
    "colours": words.COLOURS,
    "fruits": words.FRUITS,
    "vegetables": words.VEGETABLES,
    "names": words.NAMES,
    "cities": words.TOWNS,
    "jobs": words.JOBS,
    "sports": words.SPORTS,
    "instruments": words.INSTRUMENTS,
    "foods": words.FOODS,
}
PLACES = ("forest", "garden", "village", "castle", "valley", "harbour", "mountain", "meadow", "city", "desert")
OPENINGS = ("Once upon a time there was", "A long time ago there was", "There once was")
FOUND = ("key", "map", "lamp", "stone", "letter", "flower", "coin", "ring", "feather", "book")
FRIENDS = ("fox", "owl", "mouse", "bear", "rabbit", "frog", "bee", "hedgehog", "child", "turtle")


def story_turn(draw: Draw) -> Turn:
    """A short story about something that the user names."""
    if draw.chance(0.2):
        hero, user = draw.pick(words.ANIMALS), draw.ask("[Tell me|Write|Tell] a [short |][story|tale][, please|]!")
    else:
        hero = draw.pick(words.ANIMALS) if draw.chance(0.6) else draw.fresh(lambda: draw.pick(words.NOUNS))
        user = draw.ask(
            "[Tell me|Write|Make up|Can you tell me|I want] a [short |little |][story|tale] about a $hero.", hero=hero
        )
    reply = story(draw, hero, draw.fresh(lambda: draw.pick(words.NAMES)))
    return Turn("stories", user, reply, f"I tell a story about a {hero}.", "must", (hero,))


def story(draw: Draw, hero: str, name: str) -> str:
    """A story in three parts: who and where, what was found, how it ended."""
    place, found, friend = draw.pick(PLACES), draw.pick(FOUND), draw.pick(FRIENDS)
    adjective, other = draw.some(words.ADJECTIVES[:16], 2)
    opening = draw.pick(OPENINGS)
    article = "an" if adjective[0] in "aeiou" else "a"
    middle = draw.fill(
        "[One day|One morning|One evening] $name found $article $thing [near|under|behind] [a tree|an old wall|the bridge]. "
        '"[Whose is this|What can this be|Where does this come from]?" said $name. [Just then|Then|At that moment] '
        "$kind $friend came along. ",
        name=name, thing=found, article="an old" if draw.chance(0.5) else "a small", kind=f"a {other}" if other[0] not in "aeiou" else f"an {other}",
        friend=friend,
    )  # fmt: skip
    ending = draw.fill(
        '"[That is mine|I lost it yesterday|I have looked for it everywhere]!" said the $friend. $name gave the $thing back, and '
        "[they became good friends|the two danced until night|they shared a big cake|they laughed all day]. "
        "[The end.|And so they lived happily ever after.|Since that day they meet every morning.]",
        name=name, thing=found, friend=friend,
    )  # fmt: skip
    return f"{opening} {article} {adjective} {hero} called {name}. {name} lived in a {place}. {middle}{ending}"


def list_turn(draw: Draw) -> Turn:
    """`List five animals` and the like."""
    what = draw.pick(list(LISTS))
    count = draw.number(2, 8)
    typed = words.NUMBER_WORDS[count] if draw.chance(0.5) else str(count)
    user = draw.fresh(lambda: draw.ask("[List|Name|Give me|Tell me|Write down] $typed $what.", typed=typed, what=what))
    start = draw.number(0, len(LISTS[what]) - 1)  # neighbours in a known order: no item comes twice
    items = [LISTS[what][(start + place) % len(LISTS[what])] for place in range(count)]
    if draw.chance(0.75):
        reply = "\n".join(f"{place}. {item}" for place, item in enumerate(items, 1))
    else:
        reply = ", ".join(items)
        user += " " + draw.pick(("Use commas.", "Separate them with commas."))
    return Turn("stories", user, reply, f"I list {count} {what}.", "list", (str(count), what))


def count_turn(draw: Draw) -> Turn:
    """Counting up or down."""
    start, end = (1, draw.number(2, 20)) if draw.chance(0.6) else (draw.number(0, 40), draw.number(0, 40))
    if abs(end - start) > 15 and start != 1:
        return count_turn(draw)
    written = end <= 30 and draw.chance(0.4)
    typed = words.NUMBER_WORDS[end] if written else str(end)
    if start == 1:
        user = draw.ask("[Count|Can you count|Please count] [up |]to $typed.", typed=typed)
    else:
        user = draw.ask("[Count|Can you count|Please count] from $start to $typed.", start=start, typed=typed)
    step = 1 if end >= start else -1
    reply = ", ".join(str(number) for number in range(start, end + step, step))
    return Turn("stories", user, reply, f"I count from {start} to {end}.", "exact")


RECITALS = {
    "[Say|Write|Recite|Tell me|What is] the alphabet.": " ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "[List|Name|Tell me|What are] the days of the week.": ", ".join(words.DAYS) + ".",
    "[List|Name|Tell me|What are] the months[ of the year|].": ", ".join(words.MONTHS) + ".",
    "[Write|Tell me|Say|Make] a [short |]poem[ about the sea|].": (
        "The sea is wide, the sea is deep,\nIt sings the little fish to sleep.\nThe moon looks down, the waves are white,\n"
        "And all the boats have said good night."
    ),
    "[Write|Tell me|Say|Make] a [short |]poem about [a llama|llamas].": (
        "A llama walked along the hill,\nThe night was warm, the wind was still.\nIt counted stars from one to ten,\n"
        "And then it counted them again."
    ),
}


def recital_turn(draw: Draw) -> Turn:
    """Something known by heart."""

    def make() -> tuple[str, str]:
        pattern, reply = draw.pick(list(RECITALS.items()))
        return draw.ask(pattern), reply

    user, reply = draw.fresh(make)
    return Turn("stories", user, reply, "I know this by heart.", "exact")
