"""Events: what a parser finds in an answer while it comes, and the message that they add up to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of what the model thinks."""

    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """More of what it says."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call begins: the `index`-th of the message."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallText:
    """More of the JSON text of its arguments."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """Its arguments are whole, and valid JSON."""

    index: int


Event = Reasoning | Content | CallBegin | CallText | CallEnd


@dataclass(slots=True)
class ToolCall:
    """A call as far as it has come."""

    id: str
    name: str
    arguments: str = ""
    is_whole: bool = False


@dataclass(slots=True)
class Message:
    """A whole answer."""

    reasoning: str = ""
    content: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    @staticmethod
    def of(events: Iterable[Event]) -> Message:
        message = Message()
        for event in events:
            match event:
                case Reasoning(text):
                    message.reasoning += text
                case Content(text):
                    message.content += text
                case CallBegin(_, id_call, name):
                    message.calls.append(ToolCall(id_call, name))
                case CallText(index, text):
                    message.calls[index].arguments += text
                case CallEnd(index):
                    message.calls[index].is_whole = True
        return message


def append(events: list[Event], event: Event) -> None:
    """Add to a list, joined to the last one where both are more of the same text."""
    match event, events[-1] if events else None:
        case Reasoning(text), Reasoning(before):
            events[-1] = Reasoning(before + text)
        case Content(text), Content(before):
            events[-1] = Content(before + text)
        case CallText(index, text), CallText(same, before) if index == same:
            events[-1] = CallText(index, before + text)
        case _:
            events.append(event)
