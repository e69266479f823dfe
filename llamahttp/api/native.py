"""Native: llama-server's own routes for text: completion, tokens, and the chat template alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from ..errors import LlamaHTTPError
from ..task import PromptProgress
from . import fragments
from .answer import Answer
from .body import encode, json_response, read_object
from .chat_request import render_chat
from .completion import Prompt, respond
from .field import out_of_range, wrong_type
from .gap import read_gap
from .infill import require_fim
from .logprobs import GeneratedToken, token_probs
from .parameters import CHAT_TABLE, DETOKENIZE_TABLE, INFILL_TABLE, NATIVE_TABLE, TOKENIZE_TABLE
from .prompt import token_ids, tokenize_mixed, tokenize_prompts
from .schema import CompletionRequest
from .sse import error_event, event
from .state import STATE, ServerState


class NativeDialect:
    """The shapes of `/completion`."""

    id = ""
    shows_ids = True

    def __init__(self, state: ServerState, request: CompletionRequest, prompts: Sequence[Prompt]) -> None:
        self._engine = state.require_engine()
        self._model = state.model_name
        self._request = request
        self._prompts = prompts
        self._has_extras = request.timings_per_token or request.probs.is_shown

    def begin(self, answer: Answer) -> bytes:
        answer.head = b'data: {"index":%d,"content":' % answer.index
        return b""

    def opening(self, answer: Answer) -> bytes:
        return b""

    def chunk(self, answer: Answer, text: str) -> bytes:
        shown, answer.n_shown = answer.n_shown, len(answer.ids)
        extras = self._extras(answer, shown) if self._has_extras else b""
        return b'%b%b,"tokens":%b,"stop":false,"id_slot":-1,"tokens_predicted":%d,"tokens_evaluated":%d%b}\n\n' % (
            answer.head,
            encode(text),
            encode(answer.ids[shown:]),
            answer.n_predicted,
            answer.n_prompt,
            extras,
        )

    def _extras(self, answer: Answer, shown: int) -> bytes:
        """The optional members of a chunk that shows tokens from `shown` on."""
        extras: dict[str, object] = {}
        if self._request.timings_per_token and answer.timings is not None:
            extras |= fragments.cost(answer.timings)
        stop = answer.n_probs_shown
        if self._request.probs.is_shown and shown < stop:
            extras["completion_probabilities"] = self._probs(answer, shown, stop)
        return b"," + encode(extras)[1:-1] if extras else b""

    def progress(self, answer: Answer, progress: PromptProgress) -> bytes:
        extras = fragments.cost_so_far(progress) if self._request.timings_per_token else {}
        return event(
            {
                "index": answer.index,
                "content": "",
                "tokens": [],
                "stop": False,
                "id_slot": -1,
                "tokens_predicted": 0,
                "tokens_evaluated": answer.n_prompt,
                **extras,
                "prompt_progress": fragments.prompt_progress(progress),
            }
        )

    def ending(self, answer: Answer) -> bytes:
        return event(self.final(answer))

    def done(self, answers: Sequence[Answer]) -> bytes:
        return b""

    def failure(self, error: LlamaHTTPError) -> bytes:
        return error_event(error)

    def whole(self, answers: Sequence[Answer]) -> object:
        results = [self.final(answer) for answer in answers]
        return results[0] if len(results) == 1 else results

    def final(self, answer: Answer) -> dict[str, Any]:
        """The last, or only, object of an answer. In a stream the text and the tokens have been sent before."""
        request, finished, timings = self._request, answer.finished, answer.timings
        assert finished is not None and timings is not None, "the answer has not ended"
        whole = not request.stream
        result: dict[str, Any] = {
            "index": answer.index,
            "content": answer.text if whole else "",
            "tokens": answer.ids if whole and request.return_tokens else [],
            "id_slot": finished.id_slot,
            "stop": True,
            "model": self._model,
            "tokens_predicted": answer.n_predicted,
            "tokens_evaluated": answer.n_prompt,
            "generation_settings": fragments.generation_settings(
                request.values, answer.stream.task.sampling, eog=self._engine.vocab.eog
            ),
            "prompt": self._engine.detokenize(self._prompts[answer.id_prompt].tokens),
            "has_new_line": "\n" in answer.text,
            "truncated": answer.is_truncated,
            "stop_type": answer.stop_type,
            "stopping_word": answer.stopping_word,
            "tokens_cached": finished.n_past,
            **fragments.cost(timings),
        }
        if whole and request.probs.is_shown:
            result["completion_probabilities"] = self._probs(answer, 0, answer.n_probs_shown)
        return pick(result, request.response_fields) if request.response_fields else result

    def _probs(self, answer: Answer, start: int, stop: int) -> list[GeneratedToken]:
        return token_probs(
            answer.ids[start:stop],
            answer.probs[start:stop],
            self._request.probs,
            self._engine.vocab.pieces,
        )


def pick(result: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The members at `paths`, each under the whole path; a missing one is left out."""
    picked: dict[str, Any] = {}
    for path in paths:
        value: Any = result
        for key in path.split("/"):
            if not isinstance(value, dict) or key not in value:
                break
            value = value[key]
        else:
            picked[path] = value
    return picked


async def completion(http: web.Request) -> web.StreamResponse:
    """Continue a text, or several; llama-server's own shape."""
    state = http.app[STATE]
    request = state.decode(NATIVE_TABLE, await read_object(http, state.config.max_body))
    prompts = await read_prompts(state, request)
    return await respond(http, request, prompts, NativeDialect(state, request, prompts))


async def read_prompts(state: ServerState, request: CompletionRequest) -> list[Prompt]:
    """The prompts of a request as tokens; with `echo` their answers begin with their text."""
    engine = state.require_engine()
    tokens = await tokenize_prompts(engine, request.values["prompt"], request.n_tries)
    return [Prompt(ids, engine.detokenize(ids, special=False) if request.echo else "") for ids in tokens]


async def infill(http: web.Request) -> web.StreamResponse:
    """Fill the gap between two texts, for models that have learnt it; answered as `/completion` is."""
    state = http.app[STATE]
    require_fim(state.require_engine().vocab.fim)
    request = state.decode(INFILL_TABLE, await read_object(http, state.config.max_body))
    values = request.values
    prompts = [Prompt(await read_gap(state, values["input_prefix"], values["input_suffix"], values))]
    return await respond(http, request, prompts, NativeDialect(state, request, prompts))


async def tokenize(http: web.Request) -> web.Response:
    """The tokens of a text."""
    state = http.app[STATE]
    engine = state.require_engine()
    values = TOKENIZE_TABLE.decode(await read_object(http, state.config.max_body))
    content = values["content"]
    if not isinstance(content, str | list):
        raise wrong_type("content", "string or array", content)
    specials = {name: values[name] for name in ("add_special", "parse_special")}
    ids = await tokenize_mixed(engine, content, **specials, name="content")
    tokens = ids.tolist()
    if not values["with_pieces"]:
        return json_response({"tokens": tokens})
    check_ids("content", tokens, engine.vocab.n_tokens)
    pieces = engine.vocab.special_pieces
    return json_response({"tokens": [{"id": i, "piece": show_piece(pieces[i])} for i in tokens]})


def show_piece(piece: bytes) -> str | list[int]:
    """A token's text, or its bytes where they are no text by themselves."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


async def detokenize(http: web.Request) -> web.Response:
    """The text of tokens."""
    state = http.app[STATE]
    engine = state.require_engine()
    tokens = DETOKENIZE_TABLE.decode(await read_object(http, state.config.max_body))["tokens"]
    check_ids("tokens", tokens, engine.vocab.n_tokens)
    return json_response({"content": engine.detokenize(token_ids(tokens))})


def check_ids(name: str, tokens: Sequence[object], n_vocab: int) -> None:
    """Raises InvalidRequest for anything but ids of the vocabulary; `name` is what the client called the list."""
    for token in tokens:
        if not isinstance(token, int) or isinstance(token, bool):
            raise wrong_type(name, "array of numbers", token)
        if not 0 <= token < n_vocab:
            raise out_of_range(name, 0, n_vocab - 1, token)


async def apply_template(http: web.Request) -> web.Response:
    """The prompt that a chat becomes; nothing is generated."""
    state = http.app[STATE]
    body = await read_object(http, state.config.max_body)
    chat = await render_chat(state, body, CHAT_TABLE.decode(body, state.defaults))
    return json_response({"prompt": chat.text})
