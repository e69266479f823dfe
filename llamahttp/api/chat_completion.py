"""Chat completions: `/v1/chat/completions`, with thoughts and calls told apart from content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web

from ..task import PromptProgress
from ..tools.events import CallBegin, CallText, Content, Event, Message, Reasoning, ToolCall
from ..tools.parser import Parser
from .answer import Answer
from .body import encode, read_object
from .chat_request import ChatRequest, read_chat
from .completion import respond
from .openai import OpenAIDialect
from .sse import DONE, event
from .state import STATE, ServerState


class ChatDialect(OpenAIDialect):
    """The shapes of `/v1/chat/completions`."""

    chunk_object = "chat.completion.chunk"
    whole_object = "chat.completion"

    def __init__(self, state: ServerState, chat: ChatRequest) -> None:
        super().__init__(state, chat.request, [chat.prompt])
        self._reading = chat.reading
        self._parsers: dict[int, Parser] = {}
        """By index, of the answers that may hold more than content."""

    def envelope(self) -> dict[str, object]:
        stamp = self._stamp
        return {"created": stamp["created"], **self._id, "model": stamp["model"], **self._fingerprint} | {
            "object": self.chunk_object
        }

    def choice(self, answer: Answer) -> dict[str, object]:
        parser = self._reading.parser()
        message = whole_message(parser, answer) if parser else Message(content=answer.text)
        choice: dict[str, object] = {
            "finish_reason": finish_reason(answer, parser),
            "index": answer.index,
            "message": message_object(message),
        }
        logprobs = self.logprobs(answer, 0)
        return choice | {"logprobs": logprobs} if logprobs else choice

    def begin(self, answer: Answer) -> bytes:
        answer.head = b'data: {"choices":[{"finish_reason":null,"index":%d,"delta":{' % answer.index
        answer.tail = b"}}],%b}\n\n" % encode(self.envelope())[1:-1]
        parser = self._reading.parser()
        if parser:
            self._parsers[answer.index] = parser
        return b""

    def opening(self, answer: Answer) -> bytes:
        return self._event(answer.index, {"role": "assistant", "content": None})

    def progress(self, answer: Answer, progress: PromptProgress) -> bytes:
        return self._event(answer.index, {"role": "assistant", "content": None}, more=self.report(progress))

    def chunk(self, answer: Answer, text: str) -> bytes:
        parser = self._parsers.get(answer.index)
        if parser is not None and not parser.is_plain:
            return self._deltas(answer, parser.feed(text))
        if self._has_extras:
            return self._delta(answer, {"content": text})
        return b'%b"content":%b%b' % (answer.head, encode(text), answer.tail)

    def _deltas(self, answer: Answer, events: Iterable[Event]) -> bytes:
        return b"".join([self._delta(answer, delta) for each in events if (delta := delta_of(each))])

    def _delta(self, answer: Answer, delta: dict[str, object]) -> bytes:
        """A chunk, with what else is new since the last one."""
        if not self._has_extras:
            return b"%b%b%b" % (answer.head, encode(delta)[1:-1], answer.tail)
        logprobs, answer.n_shown = self.logprobs(answer, answer.n_shown), len(answer.ids)
        extra = {"logprobs": logprobs} if logprobs else {}
        return self._event(answer.index, delta, extra=extra, more=self.timings_now(answer))

    def ending(self, answer: Answer) -> bytes:
        """The rest, and the end. Tokens that show nowhere, as the tags of calls do, have had no chunk of their own."""
        self._ended.append(answer)
        parser = self._parsers.pop(answer.index, None)
        rest = self._deltas(answer, parser.finish(is_cut=answer.stop_type == "limit")) if parser else b""
        logprobs = self.logprobs(answer, answer.n_shown)
        extra = {"logprobs": logprobs} if logprobs else {}
        more = self.verbose(answer) | ({} if self._request.include_usage else self.timings(answer))
        return rest + self._event(answer.index, {}, finish_reason=finish_reason(answer, parser), extra=extra, more=more)

    def done(self, answers: Sequence[Answer]) -> bytes:
        """With `include_usage` a chunk without choices counts all answers together."""
        if not self._request.include_usage:
            return DONE
        last = self.totals(answers) | self.timings(self._ended[-1])
        return event({"choices": []} | self.envelope() | last) + DONE

    def _event(
        self,
        index: int,
        delta: dict[str, object],
        *,
        finish_reason: str | None = None,
        extra: Mapping[str, object] = {},
        more: Mapping[str, object] = {},
    ) -> bytes:
        """A chunk: `extra` goes into its choice, `more` beside it."""
        choice = {"finish_reason": finish_reason, "index": index, "delta": delta, **extra}
        return event({"choices": [choice], **self.envelope(), **more})


# --- shapes


def delta_of(found: Event) -> dict[str, object]:
    """What a chunk says of it; empty for what shows nowhere."""
    match found:
        case Content(text):
            return {"content": text}
        case Reasoning(text):
            return {"reasoning_content": text}
        case CallText(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        case CallBegin(index, id_call, name):
            return {"tool_calls": [{"index": index} | call_object(ToolCall(id_call, name))]}
    return {}


def whole_message(parser: Parser, answer: Answer) -> Message:
    events = parser.feed(answer.text)
    return Message.of(events + parser.finish(is_cut=answer.stop_type == "limit"))


def message_object(message: Message) -> dict[str, object]:
    shown: dict[str, object] = {"role": "assistant", "content": message.content}
    if message.reasoning:
        shown["reasoning_content"] = message.reasoning
    if message.calls:
        shown["content"] = message.content or None
        shown["tool_calls"] = [call_object(call) for call in message.calls]
    return shown


def call_object(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def finish_reason(answer: Answer, parser: Parser | None) -> str:
    """`tool_calls` only for calls that are all whole: a client runs them then."""
    reason = answer.finish_reason
    return "tool_calls" if reason == "stop" and parser and parser.has_whole_calls else reason


# --- the route


async def chat_completion(http: web.Request) -> web.StreamResponse:
    """Answer a chat; OpenAI's shape, with thoughts as `reasoning_content`."""
    state = http.app[STATE]
    chat = await read_chat(state, await read_object(http, state.config.max_body))
    dialect = ChatDialect(state, chat)
    return await respond(http, chat.request, [chat.prompt], dialect, chat.rules)
