"""State: what the handlers share, kept in the aiohttp application. Event loop only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..config import ServerConfig
from ..errors import Unavailable
from ..metrics import ServerMetrics
from ..text import ShownPieces
from ..tools.detect import detect
from ..workers import Workers
from .activity import Activity
from .control import Controls
from .cors import Cors
from .defaults import from_metadata
from .field import Table
from .files import Shown
from .hosts import Hosts
from .responses.store import ResponseStore
from .schema import CompletionRequest, completion_request
from .sessions import Sessions

if TYPE_CHECKING:
    from ..abc import Vocab
    from ..chat_template import ChatTemplate
    from ..engine import Engine
    from ..errors import StartupError
    from ..task import EngineSnapshot
    from ..tools.format import ChatFormat

LOADING = "Loading model"
DEBUG_ANSWERS = 10
"""Verbosity from which on answers show `__verbose`, as in llama-server."""


async def stay_awake() -> None:
    """What there is to do for a model that never sleeps."""


def shown_tokens(vocab: Vocab, format: ChatFormat) -> frozenset[int]:
    """Control tokens that are literals of a format, or parts of one; those that end an answer never show."""
    tokens = set()
    for text in format.literals:
        tokens.update(vocab.tokenize(text, add_special=False, parse_special=True).tolist())
    return frozenset(token for token in tokens - vocab.eog if vocab.pieces[token] != vocab.special_pieces[token])


@dataclass
class ServerState:
    """Filled by `app`: `engine` and `template` appear when the model is loaded, `error` when it cannot be.

    While the model sleeps, `engine` is the one that was closed: what it knows of the model stays true.
    """

    config: ServerConfig
    engine: Engine | None = None
    template: ChatTemplate | None = None
    error: StartupError | None = None
    progress: float = 0.0
    """How much of the model is loaded, 0 to 1."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix time of the start, which `/v1/models` shows."""
    lora_scales: tuple[float, ...] = field(init=False)
    """The adapters' scales for requests that name none; `POST /lora-adapters` changes them."""

    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    controls: Controls = field(default_factory=Controls)
    """The completions that run, for requests about them."""
    activity: Activity = field(default_factory=Activity)
    renderer: Workers = field(default_factory=lambda: Workers("template", 1))
    """Where templates run: a long conversation takes up to a second. Two threads would only take the GIL from each
    other, and from the loop."""
    sessions: Sessions = field(default_factory=Sessions)
    responses: ResponseStore = field(default_factory=ResponseStore)
    wake: Callable[[], Awaitable[None]] = stay_awake
    """Returns once the model is loaded, for a request that needs it."""
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopping: bool = False
    """What runs may come to its end; nothing new is taken."""
    last_snapshot: EngineSnapshot | None = None
    """The engine's last state before it fell asleep; None while it is awake."""

    def __post_init__(self) -> None:
        engine = self.config.engine
        self.lora_scales = tuple(0.0 if engine.lora_init_without_apply else scale for _, scale in engine.loras)
        self.cors = Cors.of(self.config)
        self.hosts = Hosts(self.config)
        self.shown = Shown(self.config.http)
        self._pieces: dict[ChatFormat, Sequence[bytes]] = {}  # of the template, and of its variant for tools
        self.awake.set()

    @property
    def is_sleeping(self) -> bool:
        return self.last_snapshot is not None

    def fall_asleep(self, last: EngineSnapshot) -> None:
        """From now on requests have to `wake` the model."""
        self.last_snapshot = last
        self.metrics.retire(last, self.require_engine().meter)
        self.awake.clear()

    def wake_up(self, engine: Engine) -> None:
        self.engine, self.last_snapshot = engine, None
        self.awake.set()

    async def snapshot(self) -> EngineSnapshot:
        """The engine's state; that before it fell asleep, while it sleeps. Raises Unavailable while it loads."""
        return self.last_snapshot or await self.require_engine().snapshot()

    def prepare_chat(self) -> None:
        """Find how answers to chats are written, before the first one has to wait for it: some milliseconds."""
        template = self.require_template()
        for each in (template, template.tool_use):
            if each is not None:
                self.pieces_of(detect(each))

    def pieces_of(self, format: ChatFormat) -> Sequence[bytes]:
        """Bytes of each token as they appear in a chat's answer, where the tokens show that `format` is made of."""
        pieces = self._pieces.get(format)
        if pieces is None:
            vocab = self.require_engine().vocab
            shown = shown_tokens(vocab, format)
            pieces = ShownPieces(vocab.pieces, vocab.special_pieces, shown) if shown else vocab.pieces
            self._pieces[format] = pieces
        return pieces

    @property
    def model_name(self) -> str:
        """The name that clients see, as llama-server's: the alias, or the repository or path that was given."""
        return self.config.aliases[0]

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: the build of libllama, such as `b8505-0c1e57098`."""
        return self.require_engine().library_build

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """What request fields are when a request leaves them out, where the configuration or the model's file tells.
        Raises Unavailable while the model loads."""
        config = self.config
        return (
            from_metadata(self.require_engine().info.metadata)
            | config.sampling.given
            | {
                "backend_sampling": config.engine.backend_sampling,
                "cache_prompt": config.cache_prompt,
                "n_cache_reuse": config.n_cache_reuse,
                "n_keep": config.n_keep,
                "reasoning_budget_tokens": config.reasoning_budget,
                "reasoning_budget_message": config.reasoning_budget_message,
                "sse_ping_interval": config.http.sse_ping_interval,
                # what the default is is what answers show, as in llama-server
                "reasoning_format": "deepseek" if config.reasoning_format == "auto" else config.reasoning_format,
                "stop": config.stop,
                "verbose": config.log.verbosity >= DEBUG_ANSWERS,
            }
        )

    def decode(self, table: Table, body: Mapping[str, object]) -> CompletionRequest:
        """A request of a route that generates text. Raises InvalidRequest, NotSupported, Unavailable."""
        return completion_request(
            table,
            body,
            n_slots=self.require_engine().n_slots,
            n_predict=self.config.n_predict,
            defaults=self.defaults,
        )

    def require_engine(self) -> Engine:
        """The engine. Raises Unavailable while the model loads."""
        if self.engine is None:
            raise Unavailable(LOADING)
        return self.engine

    def require_template(self) -> ChatTemplate:
        """The chat template. Raises Unavailable while the model loads."""
        if self.template is None:
            raise Unavailable(LOADING)
        return self.template


STATE = web.AppKey("state", ServerState)
