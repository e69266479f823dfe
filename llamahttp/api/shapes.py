"""Shapes: what the answers of each route look like, as types. `/openapi.json` is made from them. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from .json_schema import of_values
from .parameters import COMPLETION_TABLE

Open = dict[str, Any]
"""An object whose members are another's."""

Settings = Annotated[Open, Meta(extra_json_schema={"properties": of_values(COMPLETION_TABLE)})]
"""Parameters of requests as they were used, by the names that requests have for them."""

# --- errors


class _Fault(TypedDict):
    message: str
    type: str


class Fault(_Fault, total=False):
    """What went wrong: `code` is the HTTP status; a prompt that does not fit tells its length and the limit."""

    code: int
    n_prompt_tokens: int
    n_ctx: int


class Error(TypedDict):
    """Every answer that is not what was asked for."""

    error: Fault


# --- the server


class Health(TypedDict):
    """The server answers."""

    status: Literal["ok"]


class Success(TypedDict):
    """It is done."""

    success: bool


class ControlResult(Success, total=False):
    """Whether it could be done; if not, why."""

    message: str


class DefaultSettings(TypedDict):
    """What requests get that set nothing."""

    params: Settings
    n_ctx: int


class Modalities(TypedDict):
    """What a model takes besides text."""

    vision: bool
    video: bool
    audio: bool


class _Props(TypedDict):
    default_generation_settings: DefaultSettings
    total_slots: int
    model_alias: str
    model_ftype: str
    model_path: str
    modalities: Modalities
    media_marker: str
    endpoint_slots: bool
    endpoint_props: bool
    endpoint_metrics: bool
    ui: bool
    ui_settings: Open
    chat_template: str
    chat_template_caps: dict[str, bool]
    bos_token: str
    eos_token: str
    build_info: str
    is_sleeping: bool
    cors_proxy_enabled: bool


class Props(_Props, total=False):
    """The server's properties."""

    chat_template_tool_use: str
    """The chat template for chats with tools, where the model has one of its own."""


class ModelDetails(TypedDict):
    """What Ollama's clients look for."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(TypedDict):
    """The model in Ollama's shape."""

    name: str
    model: str
    modified_at: str
    size: str
    digest: str
    type: str
    description: str
    tags: list[str]
    capabilities: list[str]
    parameters: str
    details: ModelDetails


class ModelMeta(TypedDict):
    """Figures of a model's file."""

    vocab_type: int
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_embd: int
    n_params: int
    size: int
    ftype: str


class Model(TypedDict):
    """The model in OpenAI's shape."""

    id: str
    aliases: list[str]
    tags: list[str]
    object: Literal["model"]
    created: int
    owned_by: str
    meta: ModelMeta


class Models(TypedDict):
    """The one model, in two shapes."""

    models: list[OllamaModel]
    object: Literal["list"]
    data: list[Model]


# --- slots


class CacheUse(TypedDict):
    """Prompt tokens that were not computed, by the tier that had them, and why they were not more."""

    resident: int
    ram: int
    disk: int
    miss: str


class NextToken(TypedDict):
    """How far a slot's answer is."""

    has_next_token: bool
    has_new_line: bool
    n_remain: int
    n_decoded: int


class _Slot(TypedDict):
    id: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    state: str


class Slot(_Slot, total=False):
    """A slot; what it runs is told while it runs something."""

    id_task: int
    n_prompt_tokens: int
    n_prompt_tokens_processed: int
    n_prompt_tokens_cache: int
    cache: CacheUse
    n_preempted: int
    params: Settings
    next_token: list[NextToken]


class SaveTimings(TypedDict):
    """How long it took."""

    save_ms: float


class SavedSlot(TypedDict):
    """A slot's memory has been written."""

    id_slot: int
    filename: str
    n_saved: int
    n_written: int
    timings: SaveTimings


class RestoreTimings(TypedDict):
    """How long it took."""

    restore_ms: float


class RestoredSlot(TypedDict):
    """A slot's memory has been read."""

    id_slot: int
    filename: str
    n_restored: int
    n_read: int
    timings: RestoreTimings


class ErasedSlot(TypedDict):
    """A slot's memory has been forgotten."""

    id_slot: int
    n_erased: int


class Adapter(TypedDict):
    """A LoRA adapter and the scale that requests get which name none."""

    id: int
    path: str
    scale: float
    task_name: str
    prompt_prefix: str


# --- tokens


class TokenPiece(TypedDict):
    """A token's id and its text, or its bytes where they are no text by themselves."""

    id: int
    piece: str | list[int]


class TokenIds(TypedDict):
    """The tokens of a text; with `with_pieces` as objects."""

    tokens: list[int | TokenPiece]


class Text(TypedDict):
    """The text of tokens."""

    content: str


class RenderedPrompt(TypedDict):
    """The prompt that a chat becomes."""

    prompt: str


class InputTokens(TypedDict):
    """How many tokens the prompt has."""

    input_tokens: int
    object: Literal["response.input_tokens"]


# --- vectors


class Embedding(TypedDict):
    """The vectors of an input: one, unless there is no pooling."""

    index: int
    embedding: list[list[float]]


class PromptUsage(TypedDict):
    """Tokens of all inputs together."""

    prompt_tokens: int
    total_tokens: int


class _OpenAIVector(TypedDict):
    embedding: list[float] | str
    index: int
    object: Literal["embedding"]


class OpenAIVector(_OpenAIVector, total=False):
    """The vector of an input; with `encoding_format: base64` as the text of its float32 numbers."""

    encoding_format: Literal["base64"]


class OpenAIEmbeddings(TypedDict):
    """Vectors in OpenAI's shape."""

    model: str
    object: Literal["list"]
    usage: PromptUsage
    data: list[OpenAIVector]


class Relevance(TypedDict):
    """How well a document answers the query; the best comes first."""

    index: int
    relevance_score: float


class JinaRanking(TypedDict):
    """Documents in Jina's shape."""

    model: str
    object: Literal["list"]
    usage: PromptUsage
    results: list[Relevance]


class _TeiRank(TypedDict):
    index: int
    score: float


class TeiRank(_TeiRank, total=False):
    """A document in the shape of Text Embeddings Inference."""

    text: str
