"""Blocks: an answer's parts, in events as they come, and whole. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any

from ...tools.events import CallBegin, CallEnd, CallText, Content, Event, Reasoning
from ...tools.json_text import load

BlockEvent = dict[str, Any]
"""`content_block_start`, `content_block_delta` or `content_block_stop`."""

FIELDS = {"text": "text", "thinking": "thinking", "tool_use": "partial_json", "signature": "signature"}
DELTAS = {
    "text": "text_delta",
    "thinking": "thinking_delta",
    "tool_use": "input_json_delta",
    "signature": "signature_delta",
}


class Thoughts(enum.Enum):
    """What a client gets of thoughts."""

    SHOWN = enum.auto()
    OMITTED = enum.auto()
    """Blocks without their text."""
    HIDDEN = enum.auto()
    """Nothing: it has not asked for any."""


class BlockWriter:
    """Splits what a parser finds into blocks, one after the other."""

    def __init__(self, signature: str, thoughts: Thoughts = Thoughts.SHOWN) -> None:
        """`signature`: of thoughts; clients send none back that have no signature."""
        self.index = -1
        """Of the last block."""
        self.open = ""
        """The type of the block that is being written; empty if there is none."""
        self._signature = signature
        self._thoughts = thoughts

    def take(self, found: Event) -> Iterator[BlockEvent]:
        match found:
            case Reasoning() if self._thoughts is Thoughts.HIDDEN:
                return
            case Reasoning(text):
                yield from self._begin("thinking", {"thinking": "", "signature": ""})
                if self._thoughts is Thoughts.SHOWN:
                    yield self.delta("thinking", text)
            case CallBegin(_, id_call, name):
                yield from self.close()
                yield from self._begin("tool_use", {"id": id_call, "name": name, "input": {}})
            case CallText(_, text):
                yield self.delta("tool_use", text)
            case Content(text):
                yield from self._begin("text", {"text": ""})
                yield self.delta("text", text)
            case CallEnd():
                yield from self.close()

    def close(self) -> Iterator[BlockEvent]:
        """The end of the block that is being written, if there is one."""
        if not self.open:
            return
        if self.open == "thinking":
            yield self.delta("signature", self._signature)
        self.open = ""
        yield {"type": "content_block_stop", "index": self.index}

    def delta(self, kind: str, text: str) -> BlockEvent:
        delta = {"type": DELTAS[kind], FIELDS[kind]: text}
        return {"type": "content_block_delta", "index": self.index, "delta": delta}

    def _begin(self, kind: str, members: dict[str, Any]) -> Iterator[BlockEvent]:
        """The beginning of a block, unless the one that is being written is of this kind."""
        if self.open == kind:
            return
        yield from self.close()
        self.open = kind
        self.index += 1
        yield {"type": "content_block_start", "index": self.index, "content_block": {"type": kind, **members}}


def whole_blocks(events: Iterable[BlockEvent]) -> list[dict[str, Any]]:
    """The blocks that events add up to. The input of a call that is not whole is empty."""
    blocks: list[dict[str, Any]] = []
    arguments = ""
    for event in events:
        match event:
            case {"type": "content_block_start", "content_block": block}:
                blocks.append(dict(block))
                arguments = ""
            case {"delta": {"partial_json": text}}:
                arguments += text
            case {"delta": delta}:
                [name] = delta.keys() - {"type"}
                blocks[-1][name] += delta[name]
            case {"type": "content_block_stop"} if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = read_input(arguments)
    return blocks


def read_input(arguments: str) -> dict[str, Any]:
    """The arguments of a call; none where they are no JSON object."""
    try:
        value = load(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
