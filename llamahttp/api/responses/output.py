"""Response output: the items of a response while they grow, and the events that tell of it. Pure.

What is shown whole at the end is what the events have told, with the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from ...tools.events import CallBegin, CallEnd, CallText, Content, Event, Reasoning
from ..logprobs import GeneratedToken
from .custom_input import MEMBER, CustomInput
from .items import make_id, seal
from .shapes import OutputItem, OutputPart
from .tools import Origin

Payload = dict[str, Any]
"""An event's data, but for its sequence number."""
Kind = Literal["reasoning", "message", "function_call", "custom_tool_call"]
PREFIXES: dict[Kind, str] = {"reasoning": "rs", "message": "msg", "function_call": "fc", "custom_tool_call": "ctc"}


class Output:
    """The items of one response; `take` what its parser finds, then `finish`."""

    def __init__(self, *, seals_thoughts: bool = False, origins: Mapping[str, Origin] = {}) -> None:
        """`seals_thoughts`: thoughts also come in the form that clients keep. `origins`: what the client knows tools
        by, by the names that a chat has for them."""
        self.items: list[OutputItem] = []
        self._seals_thoughts = seals_thoughts
        self._origins = origins
        self._open: OutputItem | None = None
        """The last item, while there may be more of it."""
        self._texts: list[str] = []
        """Of the open item."""
        self._logprobs: list[GeneratedToken] = []
        self._is_whole = True
        """The open item can be over as it is."""
        self._input = CustomInput()
        """Of the last call of a custom tool."""

    def take(self, found: Event, logprobs: Sequence[GeneratedToken] = ()) -> Iterator[Payload]:
        """`logprobs` are those of the tokens of a content."""
        match found:
            case Reasoning(text):
                yield from self._begin("reasoning")
                yield self._delta("response.reasoning_text.delta", text, content_index=0)
            case Content(text):
                yield from self._begin("message")
                self._logprobs += logprobs
                yield self._delta("response.output_text.delta", text, content_index=0, logprobs=[*logprobs])
            case CallBegin(_, id_call, name):
                yield from self.finish()
                yield self._call(id_call, self._origins.get(name, Origin(name)))
            case CallText(_, text):
                yield from self._more_of_call(text)
            case CallEnd():
                self._is_whole = True
                yield from self.finish()

    def finish(self, *, is_cut: bool = False) -> Iterator[Payload]:
        """End the open item, if there is one; `is_cut`: before its time."""
        item, self._open = self._open, None
        if item is None:
            return
        item["status"] = "incomplete" if is_cut or not self._is_whole else "completed"
        text, logprobs = "".join(self._texts), self._logprobs
        self._texts, self._logprobs, self._is_whole = [], [], True
        if item["type"] == "function_call":
            item["arguments"] = text
            yield self._event("function_call_arguments.done", item, name=item["name"], arguments=text)
        elif item["type"] == "custom_tool_call":
            item["input"] = text
            yield self._event("custom_tool_call_input.done", item, input=text)
        else:
            part = part_of(item, text, logprobs)
            item["content"] = [part]
            yield from self._finish_part(item, part)
        yield {"type": "response.output_item.done", "output_index": self._index, "item": item}

    def _finish_part(self, item: OutputItem, part: OutputPart) -> Iterator[Payload]:
        text = part["text"]
        if item["type"] == "reasoning":
            item["encrypted_content"] = seal(text) if self._seals_thoughts else None
            yield self._event("reasoning_text.done", item, content_index=0, text=text)
        else:
            yield self._event("output_text.done", item, content_index=0, text=text, logprobs=part["logprobs"])
        yield self._event("content_part.done", item, content_index=0, part=part)

    def _begin(self, kind: Kind) -> Iterator[Payload]:
        """Let the open item be a thought or a message."""
        if self._open is not None and self._open["type"] == kind:
            return
        yield from self.finish()
        if kind == "message":
            yield self._add(kind, {"role": "assistant", "content": []})
        else:
            yield self._add(kind, {"summary": [], "content": [], "encrypted_content": None})
        assert self._open is not None
        yield self._event("content_part.added", self._open, content_index=0, part=part_of(self._open, "", []))

    def _call(self, id_call: str, tool: Origin) -> Payload:
        """Let the open item be a call."""
        self._is_whole = False
        self._input = CustomInput()
        within = {"namespace": tool.namespace} if tool.namespace else {}
        kind, member = ("custom_tool_call", MEMBER) if tool.is_custom else ("function_call", "arguments")
        return self._add(cast(Kind, kind), {"call_id": id_call, "name": tool.name, **within, member: ""})

    def _more_of_call(self, text: str) -> Iterator[Payload]:
        assert self._open is not None, "a call has begun"
        if self._open["type"] == "function_call":
            yield self._delta("response.function_call_arguments.delta", text)
        elif shown := self._input.feed(text):
            yield self._delta("response.custom_tool_call_input.delta", shown)

    def _add(self, kind: Kind, members: dict[str, Any]) -> Payload:
        head = {"id": make_id(PREFIXES[kind]), "type": kind, "status": "in_progress"}
        self._open = cast(OutputItem, head | members)
        self.items.append(self._open)
        return {"type": "response.output_item.added", "output_index": self._index, "item": self._open}

    @property
    def _index(self) -> int:
        return len(self.items) - 1

    def _delta(self, kind: str, text: str, **members: Any) -> Payload:
        assert self._open is not None, "an item has begun"
        self._texts.append(text)
        return {"type": kind, "item_id": self._open["id"], "output_index": self._index, "delta": text, **members}

    def _event(self, kind: str, item: OutputItem, **members: Any) -> Payload:
        return {"type": f"response.{kind}", "item_id": item["id"], "output_index": self._index, **members}


def part_of(item: OutputItem, text: str, logprobs: list[GeneratedToken]) -> OutputPart:
    """The content of a thought or a message."""
    if item["type"] == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}
