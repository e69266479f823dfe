"""Scenarios: what the clients of one round ask for. Pure: seeds and sizes in, request bytes out.

A round is a list of lanes. A lane is one client: it sends its requests one after another, each as soon as the
last one is answered.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Dialect = Literal["native", "chat", "embedding"]
Sampling = Literal["greedy", "default"]

MOST_SHOWN = 60
"""Characters of an extra parameter in a title."""
PATHS: dict[Dialect, str] = {"native": "/completion", "chat": "/v1/chat/completions", "embedding": "/v1/embeddings"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to send, and what its answer must hold."""

    dialect: Dialect
    body: bytes
    n_expected: int
    stream: bool

    @property
    def path(self) -> str:
        return PATHS[self.dialect]


Lane = list[Request]


def random_tokens(seed: str, n: int, n_vocab: int) -> list[int]:
    """`n` token ids, drawn from `seed` alone."""
    draw = random.Random(seed)
    # Vocabularies keep their control tokens at either end.
    return [draw.randrange(n_vocab // 8, n_vocab - n_vocab // 8) for _ in range(n)]


def random_words(seed: str, n: int) -> list[str]:
    """`n` words of three letters, drawn from `seed` alone."""
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=3)) for _ in range(n)]


@dataclass(frozen=True, slots=True)
class Streams:
    """`n_streams` clients at once, each with `n_requests` prompts of random content, one after another.

    A prompt is `n_shared` tokens that all requests of a round have in common, then `n_prompt` of its own;
    both differ from round to round: a prefix cache helps with the shared part of the same round and nothing
    else. In the chat dialect, which takes text, the sizes count short words instead of tokens. `extra` is
    merged into every body and wins.
    """

    n_streams: int
    n_predict: int = 128
    n_prompt: int = 32
    n_shared: int = 0
    n_requests: int = 1
    dialect: Dialect = "native"
    stream: bool = True
    sampling: Sampling = "greedy"
    seed: int | str = 1
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        shared = f"{self.n_shared} shared + " if self.n_shared else ""
        unit = "words" if self.dialect == "chat" else "tokens"
        parts = [
            f"{self.n_streams} stream" + "s" * (self.n_streams > 1),
            f"{PATHS[self.dialect]}{'' if self.stream else ', not streamed'}",
            f"prompt {shared}{self.n_prompt} {unit}",
        ]
        if self.dialect != "embedding":
            parts += [f"n_predict {self.n_predict}", f"sampling {self.sampling}"]
        if self.n_requests > 1:
            parts.append(f"{self.n_requests} requests each")
        if self.extra:
            parts.append(shortened(json.dumps(self.extra)))
        return " · ".join(parts)

    def lanes(self, id_round: int, n_vocab: int) -> list[Lane]:
        shared = self._content(f"{self.seed}/{id_round}", self.n_shared, n_vocab)
        return [
            [self._request(shared, f"{self.seed}/{id_round}/{i}/{k}", n_vocab) for k in range(self.n_requests)]
            for i in range(self.n_streams)
        ]

    def _request(self, shared: list[Any], seed: str, n_vocab: int) -> Request:
        content = shared + self._content(seed, self.n_prompt, n_vocab)
        if self.dialect == "embedding":
            body: dict[str, Any] = {"input": [content], "encoding_format": "base64", **self.extra}
            return Request(self.dialect, json.dumps(body).encode(), 0, False)
        body = self._chat(content) if self.dialect == "chat" else self._native(content)
        body |= {"stream": self.stream, "ignore_eos": True}
        if self.sampling == "greedy":
            body["temperature"] = 0
        body |= self.extra
        return Request(self.dialect, json.dumps(body).encode(), self.n_predict, self.stream)

    def _native(self, tokens: list[int]) -> dict[str, Any]:
        return {"prompt": tokens, "n_predict": self.n_predict}

    def _chat(self, words: list[str]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": " ".join(words)}],
            "max_tokens": self.n_predict,
        }
        if self.stream:
            body["stream_options"] = {"include_usage": True}
        return body

    def _content(self, seed: str, n: int, n_vocab: int) -> list[Any]:
        """Token ids, or words for the chat dialect, drawn from `seed` alone."""
        return random_words(seed, n) if self.dialect == "chat" else random_tokens(seed, n, n_vocab)


def shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 2]} …"
