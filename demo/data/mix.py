"""Mix: puts turns of all kinds together to conversations, in fixed shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import code, facts, product, recall, shapes, stories, sums, talk, tools
from .dialogue import Dialogue, Raw, Turn
from .draw import Draw

Sample = Dialogue | Raw

# What a turn in the middle of a conversation may be, with its share
TURNS: tuple[tuple[Callable[[Draw], Turn], float], ...] = (
    (talk.talk_turn, 6),
    (facts.fact_turn, 14),
    (facts.unknown_turn, 6),
    (product.product_turn, 3),
    (sums.sum_turn, 27),
    (sums.story_sum_turn, 5),
    (recall.one_message_turn, 3),
    (recall.repeat_turn, 11),
    (recall.reading_turn, 6),
    (shapes.json_turn, 14),
    (stories.story_turn, 2),
    (stories.list_turn, 8),
    (stories.count_turn, 6),
    (stories.recital_turn, 1),
    (code.code_turn, 1.5),
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful[, friendly|] assistant. [Answer|Reply] [briefly|in short|politely].",
    "[Be|Please be] [brief|short|polite|kind|friendly|helpful|concise].",
    "You are [a|the] [friendly|helpful|small|polite] [assistant|chatbot|robot|AI].",
    "Answer [the questions|all questions|the user] [truthfully|briefly|politely|in one sentence].",
    "You are a helpful AI assistant. Today is $day.",
    "You [help|serve] the users of [a shop|a school|llamahttp|a library].",
)


def _weighted(draw: Draw) -> Callable[[Draw], Turn]:
    makers, shares = zip(*TURNS, strict=True)
    return draw.random.choices(makers, shares)[0]


def _system(draw: Draw) -> str | None:
    if draw.chance(0.6):
        return None
    return draw.fill(draw.pick(SYSTEMS), day=draw.pick(("Monday", "Tuesday", "Friday", "Sunday")))


def _finish(draw: Draw, dialogue: Dialogue) -> Dialogue:
    dialogue.thinking = draw.chance(0.4)
    return dialogue


def chat(draw: Draw) -> Dialogue:
    """One to six turns of any kind."""
    n_turns = draw.pick((1, 1, 2, 3, 4, 5, 6))
    return _finish(draw, Dialogue([_weighted(draw)(draw) for _ in range(n_turns)], _system(draw)))


def remembering(draw: Draw, n_turns: int | None = None, label: str = "recall") -> Dialogue:
    """A conversation in which the user tells things and asks for them later; other turns stand in between."""
    told = recall.Told()
    turns = [told.tell(draw)]
    for _ in range(draw.number(0, 7) if n_turns is None else n_turns):
        match draw.random.random():
            case roll if roll < 0.25:
                turns.append(told.tell(draw))
            case roll if roll < (0.6 if n_turns is None else 0.4):
                turns.append(told.ask(draw))
            case _:
                turns.append(_weighted(draw)(draw))
    turns.append(told.ask(draw))
    return _finish(draw, Dialogue(turns, _system(draw), label=label))


def remembering_far(draw: Draw, n_chars: int = 0) -> Dialogue:
    """As `remembering`, with enough turns in between to fill some 500 to 1400 tokens."""
    wanted = n_chars or draw.number(1100, 3300)
    turns: list[Turn] = []
    told = recall.Told()
    turns.append(told.tell(draw))
    while sum(len(turn.user) + len(turn.reply) for turn in turns) < wanted:
        match draw.random.random():
            case roll if roll < 0.12:
                turns.append(told.tell(draw))
            case roll if roll < 0.2:
                turns.append(told.ask(draw))
            case _:
                turns.append(_weighted(draw)(draw))
    turns.append(told.ask(draw))
    return _finish(draw, Dialogue(turns, _system(draw), label="recall far"))


def told_by_system(draw: Draw) -> Dialogue:
    """The system prompt gives the model's own name, or a fact about the user."""
    other = [_weighted(draw)(draw) for _ in range(draw.number(0, 2))]
    if draw.chance(0.5):
        name = draw.name()
        system = draw.fill(
            "[You are|Your name is|You are called] $name[, a helpful assistant|, a friendly robot|].", name=name
        )
        wording = "[What is your name|Who are you|What are you called|What's your name|Tell me your name]?"
        turn = Turn("recall", draw.ask(wording), f"My name is {name}.", f"The system calls me {name}.", "exact")
    else:
        attribute = draw.pick((recall.ATTRIBUTES[0], *recall.ATTRIBUTES[6:]))
        value = attribute.value(draw)
        reply = draw.fill(attribute.answer, v=value)
        system = f"The user's {attribute.key} is {value}."
        if draw.chance(0.4):
            system = "You are a helpful assistant. " + system
        thought = f"The user told me: {attribute.key} = {value}."
        turn = Turn("recall", draw.ask(draw.pick(attribute.ask)), reply, thought, "exact")
    return _finish(draw, Dialogue([*other, turn], system))


def extracting(draw: Draw) -> Dialogue:
    """JSON under a system prompt that fixes the shape, for one to three texts."""
    system, turn = shapes.json_with_system(draw)
    return _finish(draw, Dialogue([turn], system))


def calling(draw: Draw) -> Dialogue:
    """Tools are offered; most turns need one of them, some need none."""
    schemas, offered = tools.offered(draw)
    turns: list[Turn] = []
    for _ in range(draw.pick((1, 1, 1, 2, 2, 3))):
        if draw.chance(0.2):
            plain = draw.pick((talk.talk_turn, product.product_turn, facts.fact_turn, recall.repeat_turn))
            turns.append(plain(draw))
        else:
            turns.append(tools.tool_turn(draw, draw.pick(offered)))
    return _finish(draw, Dialogue(turns, _system(draw), schemas, label="tools"))


SHARES: tuple[tuple[Callable[[Draw], Sample], float], ...] = (
    (chat, 34),
    (remembering, 18),
    (remembering_far, 14),
    (told_by_system, 5),
    (extracting, 5),
    (calling, 12),
    (code.infill_sample, 16),
    (code.plain_sample, 1),
)


def samples(seed: int | str, held_out: bool = False) -> Iterator[Sample]:
    """An endless stream of samples, the same for the same seed."""
    draw = Draw(seed, held_out)
    makers, shares = zip(*SHARES, strict=True)
    while True:
        yield draw.random.choices(makers, shares)[0](draw)
