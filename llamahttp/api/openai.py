"""OpenAI: `/v1/completions` and `/v1/models`, with llama-server's additions; what chats have in common with them."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Sequence

from aiohttp import web

from ..errors import InvalidRequest, LlamaHTTPError, NotFound, NotSupported
from ..task import PromptProgress
from . import fragments
from .answer import Answer
from .body import encode, json_response, read_object
from .chat_request import count_tokens
from .completion import Prompt, respond
from .field import Field, Kind
from .gap import read_gap
from .infill import require_fim
from .logprobs import legacy_logprobs, token_probs
from .native import NativeDialect, read_prompts
from .parameters import CONTROL_TABLE, TEXT_TABLE
from .schema import CompletionRequest
from .sse import DONE, error_event, event
from .state import STATE, ServerState

ALPHABET = string.ascii_letters + string.digits


def completion_id() -> str:
    """A new id, which llama-server gives to both kinds of completion alike."""
    return "chatcmpl-" + "".join(secrets.choice(ALPHABET) for _ in range(32))


class OpenAIDialect:
    """What text and chat completions have in common."""

    chunk_object = ""
    whole_object = ""

    def __init__(self, state: ServerState, request: CompletionRequest, prompts: Sequence[Prompt]) -> None:
        engine = state.require_engine()
        self._request = request
        self._native = NativeDialect(state, request, prompts) if request.values["verbose"] else None
        self.shows_ids = self._native is not None
        self._pieces = engine.vocab.pieces
        self._ended: list[Answer] = []
        self._has_extras = request.timings_per_token or request.probs.is_shown
        self._stamp = {"created": int(time.time()), "model": state.model_name}
        self._fingerprint = {"system_fingerprint": state.fingerprint}
        self.id = completion_id()
        self._id = {"id": self.id}

    def envelope(self) -> dict[str, object]:
        """The members beside `choices` that every chunk repeats, in this dialect's order."""
        raise NotImplementedError

    def logprobs(self, answer: Answer, start: int) -> dict[str, object] | None:
        """Log probabilities of the tokens from `start` on; None if there are none to show."""
        stop = answer.n_probs_shown
        if not self._request.probs.is_shown or start >= stop:
            return None
        ids, probs = answer.ids[start:stop], answer.probs[start:stop]
        return {"content": token_probs(ids, probs, self._request.probs, self._pieces)}

    def timings_now(self, answer: Answer) -> dict[str, object]:
        """`timings` for a chunk that wants them."""
        if not self._request.timings_per_token or answer.timings is None:
            return {}
        return fragments.cost(answer.timings)

    def report(self, progress: PromptProgress) -> dict[str, object]:
        """What a chunk tells of a prompt that is being computed."""
        timings = fragments.cost_so_far(progress) if self._request.timings_per_token else {}
        return {**timings, "prompt_progress": fragments.prompt_progress(progress)}

    def totals(self, answers: Sequence[Answer]) -> dict[str, object]:
        """What whole answers and last chunks say about all of them."""
        return {"usage": fragments.usage(answers)}

    def timings(self, answer: Answer) -> dict[str, object]:
        assert answer.timings is not None, "the answer has not ended"
        return fragments.cost(answer.timings)

    def verbose(self, answer: Answer) -> dict[str, object]:
        """What `/completion` would say of an answer that has ended, for a request that wants to know."""
        return {"__verbose": self._native.final(answer)} if self._native is not None else {}

    def failure(self, error: LlamaHTTPError) -> bytes:
        return error_event(error)

    def choice(self, answer: Answer) -> dict[str, object]:
        """A whole answer as one of `choices`."""
        raise NotImplementedError

    def whole(self, answers: Sequence[Answer]) -> object:
        return (
            {"choices": [self.choice(answer) for answer in answers]}
            | self._stamp
            | self._fingerprint
            | {"object": self.whole_object}
            | self.totals(answers)
            | self._id
            | self.verbose(answers[0])
            | self.timings(answers[0])
        )


class TextDialect(OpenAIDialect):
    """The shapes of `/v1/completions`, where log probabilities have llama-server's shape and OpenAI's at once."""

    chunk_object = whole_object = "text_completion"

    def logprobs(self, answer: Answer, start: int) -> dict[str, object] | None:
        shown, wanted = super().logprobs(answer, start), self._request.probs
        if shown is None or wanted.is_post:
            return shown
        stop = answer.n_probs_shown
        ids, probs = answer.ids[start:stop], answer.probs[start:stop]
        legacy = legacy_logprobs(ids, probs, wanted.n_top, self._pieces, answer.offset_of(start))
        return {**shown, **legacy}

    def envelope(self) -> dict[str, object]:
        return self._stamp | self._fingerprint | {"object": self.chunk_object} | self._id

    def choice(self, answer: Answer) -> dict[str, object]:
        return {
            "text": answer.text,
            "index": answer.index,
            "logprobs": self.logprobs(answer, 0),
            "finish_reason": answer.finish_reason,
        }

    def begin(self, answer: Answer) -> bytes:
        answer.head = b'data: {"choices":[{"text":'
        answer.tail = b',"index":%d,"logprobs":null,"finish_reason":null}],%b}\n\n' % (
            answer.index,
            encode(self.envelope())[1:-1],
        )
        return b""

    def opening(self, answer: Answer) -> bytes:
        return b""

    def progress(self, answer: Answer, progress: PromptProgress) -> bytes:
        choice = {"text": "", "index": answer.index, "logprobs": None, "finish_reason": None}
        return event({"choices": [choice]} | self.envelope() | self.report(progress))

    def chunk(self, answer: Answer, text: str) -> bytes:
        if not self._has_extras:
            return b"%b%b%b" % (answer.head, encode(text), answer.tail)
        logprobs, answer.n_shown = self.logprobs(answer, answer.n_shown), len(answer.ids)
        choice = {"text": text, "index": answer.index, "logprobs": logprobs, "finish_reason": None}
        return event({"choices": [choice]} | self.envelope() | self.timings_now(answer))

    def ending(self, answer: Answer) -> bytes:
        """Each answer's last chunk tells the usage so far, so the last of all has the whole."""
        self._ended.append(answer)
        choice = {"text": "", "index": answer.index, "logprobs": None, "finish_reason": answer.finish_reason}
        return event(
            {"choices": [choice]}
            | self._stamp
            | self._fingerprint
            | {"object": self.chunk_object}
            | self.totals(self._ended)
            | self._id
            | self.verbose(answer)
            | self.timings(answer)
        )

    def done(self, answers: Sequence[Answer]) -> bytes:
        return DONE


async def text_completion(http: web.Request) -> web.StreamResponse:
    """Continue a text, or several; OpenAI's shape."""
    state = http.app[STATE]
    request = state.decode(TEXT_TABLE, await read_object(http, state.config.max_body))
    if request.echo and request.probs.is_shown:
        raise InvalidRequest("Field 'echo': log probabilities of the prompt are not supported")
    has_suffix = bool(request.values["suffix"])
    prompts = [await read_suffixed(state, request)] if has_suffix else await read_prompts(state, request)
    return await respond(http, request, prompts, TextDialect(state, request, prompts))


async def read_suffixed(state: ServerState, request: CompletionRequest) -> Prompt:
    """The prompt that fills the gap before a `suffix`. Raises InvalidRequest where the model cannot, or `echo` would
    show what is no beginning of the answer."""
    try:
        require_fim(state.require_engine().vocab.fim)
    except NotSupported as error:
        raise InvalidRequest(f"Field 'suffix': {error}") from None
    text = request.values["prompt"]
    if not isinstance(text, str):
        raise InvalidRequest("Field 'suffix': 'prompt' must then be one string")
    if request.echo:
        raise InvalidRequest("Field 'echo': it cannot be true together with a 'suffix'")
    return Prompt(await read_gap(state, text, request.values["suffix"]))


async def input_tokens(http: web.Request) -> web.Response:
    """How many tokens a chat's prompt has; nothing is generated."""
    state = http.app[STATE]
    n_tokens = await count_tokens(state, await read_object(http, state.config.max_body))
    return json_response({"object": "response.input_tokens", "input_tokens": n_tokens})


async def control(http: web.Request) -> web.Response:
    """Do something to a completion that runs: `reasoning_end` ends its thought."""
    state = http.app[STATE]
    state.require_engine()
    values = CONTROL_TABLE.decode(await read_object(http, state.config.max_body))
    if not values["id"]:
        raise InvalidRequest("missing completion id")
    problem = await state.controls.end_reasoning(values["id"])
    return json_response({"success": True} if problem is None else {"success": False, "message": problem})


async def models(http: web.Request) -> web.Response:
    """The one model, in Ollama's and in OpenAI's shape."""
    state = http.app[STATE]
    return json_response({"models": [ollama_model(state)], "object": "list", "data": [openai_model(state)]})


SEGMENTS = (Field("model", Kind.STRING, None, "A name of the model.", required=True),)
"""Parameters in the path of a model."""


async def model(http: web.Request) -> web.Response:
    """The model by one of its names, in OpenAI's shape. llama-server answers 404."""
    state = http.app[STATE]
    name = http.match_info["model"]
    if name not in state.config.aliases:
        raise NotFound(f"there is no model {name[:200]!r}; this server has {state.model_name!r}")
    return json_response(openai_model(state))


def ollama_model(state: ServerState) -> dict[str, object]:
    name = state.model_name
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "",
        "families": [""],
        "parameter_size": "",
        "quantization_level": "",
    }
    return {
        "name": name,
        "model": name,
        "modified_at": "",
        "size": "",
        "digest": "",
        "type": "model",
        "description": "",
        "tags": [""],
        "capabilities": ["completion"],
        "parameters": "",
        "details": details,
    }


def openai_model(state: ServerState) -> dict[str, object]:
    engine = state.require_engine()
    name, info = state.model_name, engine.info
    meta = {
        "vocab_type": info.vocab_type,
        "n_vocab": info.n_vocab,
        "n_ctx": engine.n_ctx_slot,
        "n_ctx_train": info.n_ctx_train,
        "n_embd": info.n_embd,
        "n_params": info.n_params,
        "size": info.n_bytes,
        "ftype": info.ftype,
    }
    return {
        "id": name,
        "aliases": list(state.config.aliases),
        "tags": list(state.config.tags),
        "object": "model",
        "created": state.created,
        "owned_by": "llamacpp",
        "meta": meta,
    }
