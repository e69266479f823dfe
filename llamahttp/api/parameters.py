"""Parameters: the tables of what requests may say, with llama-server's names, limits and defaults.

Decoding, error texts, `/openapi.json` and the pages in `docs/` are made from these rows. Pure.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypedDict

from ..samplers import SAMPLERS
from ..structured.pattern import MAX_PATTERN
from ..task import RANDOM_SEED
from .field import FLOAT32_MAX, INT32_MAX, Field, Kind, Table

MAX_STOPS = 256
"""Stop strings of a request: each is looked for in every token's text, on the event loop."""
MAX_BIASES = 100_000
MAX_TRIGGERS = 1024
MAX_BREAKERS = 16
"""Sequence breakers of DRY: the whole vocabulary is searched for each."""
MAX_EXTRA = 1024
"""Files of context of an infill request."""
MAX_SALT = 256
"""Characters of a `cache_salt`: it is kept with everything that is cached under it."""
MAX_PRIORITY = 100
REASONING_FORMATS = ("none", "auto", "deepseek", "deepseek-legacy")


class StreamOptions(TypedDict, total=False):
    """What a stream ends with."""

    include_usage: bool | None


class Trigger(TypedDict, total=False):
    """What wakes a lazy grammar: a token (0), a word (1), a pattern (2), or one of the whole text (3)."""

    type: int
    value: str
    token: int


class AdapterScale(TypedDict, total=False):
    """How strongly an adapter works."""

    id: int
    scale: float


class _ExtraText(TypedDict):
    text: str


class ExtraFile(_ExtraText, total=False):
    """A file of context."""

    filename: str


class _ContentKind(TypedDict):
    type: str


class ContentPart(_ContentKind, total=False):
    """A part of a message's content: `{type: text, text}`."""

    text: str


class _MessageRole(TypedDict):
    role: str


class Message(_MessageRole, total=False):
    """A message of a chat. An assistant's may have another of these members in place of `content`."""

    content: str | list[ContentPart] | None
    reasoning_content: str | None
    refusal: str | None
    tool_calls: list[dict[str, Any]] | None
    tool_call_id: str
    name: str


class _FunctionName(TypedDict):
    name: str


class Function(_FunctionName, total=False):
    """A function that the model may call; `parameters` is a JSON Schema."""

    description: str
    parameters: dict[str, Any]
    strict: bool | None


class Tool(TypedDict):
    """A tool, of which there is one type."""

    type: Literal["function"]
    function: Function


MODEL = Field("model", Kind.STRING, None, "Any name is fine: there is one model.", inert=True)

PROMPT = Field(
    "prompt", Kind.PROMPT, None, "The text to continue; a list of several is answered in its order.", required=True
)


COMPLETION: tuple[Field, ...] = (
    MODEL,
    # --- the answer
    Field("stream", Kind.BOOLEAN, False, "Send the answer as server-sent events, as it is generated."),
    Field(
        "stream_options",
        Kind.SHAPE,
        {},
        "`include_usage`: end a chat's stream with a chunk that tells the usage.",
        shape=StreamOptions,
    ),
    Field(
        "n_predict",
        Kind.INTEGER,
        -1,
        "Most tokens to generate; -1 is no limit but the context.",
        aliases=("max_completion_tokens", "max_tokens"),
        low=-1,
        high=INT32_MAX,
    ),
    Field(
        "n_cmpl",
        Kind.INTEGER,
        1,
        "Answers to generate for each prompt; at most the number of slots.",
        aliases=("n",),
    ),
    Field("stop", Kind.STOP, (), "Texts that end the answer; they are not part of it.", high=MAX_STOPS),
    Field(
        "t_max_predict_ms",
        Kind.INTEGER,
        -1,
        "Milliseconds after which the answer ends with its next line.",
        low=-1,
        high=2**63 - 1,
    ),
    Field(
        "n_indent",
        Kind.INTEGER,
        0,
        "Least indentation of each line of the answer, in characters.",
        low=0,
        high=INT32_MAX,
    ),
    Field("echo", Kind.BOOLEAN, False, "Begin the answer with the prompt; in a chat with the prefilled part."),
    Field("return_tokens", Kind.BOOLEAN, False, "Native route: also give the ids of the generated tokens."),
    Field("return_progress", Kind.BOOLEAN, False, "Streams: also tell how far the prompt is computed."),
    Field("timings_per_token", Kind.BOOLEAN, False, "Streams: timings in every chunk."),
    Field("response_fields", Kind.STRINGS, (), "Native route: keys to give, `a/b` reaching into objects."),
    Field(
        "sse_ping_interval",
        Kind.INTEGER,
        30,
        "Seconds of silence before a stream gets a comment; -1 is never.",
        low=-1,
        high=INT32_MAX,
    ),
    Field("verbose", Kind.BOOLEAN, False, "OpenAI's routes: show as `__verbose` what `/completion` would answer."),
    # --- where and how it runs
    Field("cache_prompt", Kind.BOOLEAN, True, "Reuse what is cached of this prompt."),
    Field("cache_salt", Kind.STRING, "", "Only requests with the same salt share what is cached.", high=MAX_SALT),
    Field(
        "n_cache_reuse",
        Kind.INTEGER,
        0,
        "Least length of moved parts of the prompt to reuse by shifting them; 0 is off.",
        low=0,
        high=INT32_MAX,
    ),
    Field("id_slot", Kind.INTEGER, -1, "Run in this slot; -1 takes the best one that is free.", low=-1),
    Field(
        "priority",
        Kind.INTEGER,
        0,
        "Lower is served earlier.",
        low=-MAX_PRIORITY,
        high=MAX_PRIORITY,
    ),
    Field("n_keep", Kind.INTEGER, 0, "Prompt tokens to keep when the context is shifted.", low=-1, high=INT32_MAX),
    Field(
        "n_discard", Kind.INTEGER, 0, "Tokens to drop when the context is shifted; 0 is half.", low=0, high=INT32_MAX
    ),
    Field(
        "lora",
        Kind.ARRAY,
        [],
        "Adapters; those not listed have scale 0. None listed: the server's scales.",
        shape=list[AdapterScale],
    ),
    # --- sampling
    Field("seed", Kind.INTEGER, RANDOM_SEED, "Seed of the random numbers; -1 is a different one each time."),
    Field(
        "temperature",
        Kind.NUMBER,
        0.8,
        "Spread of the choice; 0 takes the most likely token.",
        low=0.0,
        high=math.inf,
        soft=True,
    ),
    Field("top_k", Kind.INTEGER, 40, "Choose among this many tokens; 0 is all.", low=0, high=INT32_MAX, soft=True),
    Field(
        "top_p",
        Kind.NUMBER,
        0.95,
        "Choose among the tokens that have this much probability together.",
        low=0.0,
        high=1.0,
        soft=True,
    ),
    Field(
        "min_p",
        Kind.NUMBER,
        0.05,
        "Least probability, relative to the most likely token's.",
        low=0.0,
        high=1.0,
        soft=True,
    ),
    Field("min_keep", Kind.INTEGER, 0, "Tokens that every cut leaves.", low=0, high=INT32_MAX),
    Field("repeat_last_n", Kind.INTEGER, 64, "Tokens looked back for repetition; 0 is off.", low=0, high=INT32_MAX),
    Field("repeat_penalty", Kind.NUMBER, 1.0, "Divides the logits of repeated tokens; 1 is off."),
    Field("frequency_penalty", Kind.NUMBER, 0.0, "Taken from a token's logit for each time it was used."),
    Field("presence_penalty", Kind.NUMBER, 0.0, "Taken from a token's logit once it was used."),
    Field("logit_bias", Kind.BIAS, (), "Added to logits; `false` forbids. Tokens by id, or by text.", high=MAX_BIASES),
    Field("ignore_eos", Kind.BOOLEAN, False, "Never choose a token that ends the answer."),
    Field(
        "n_probs",
        Kind.INTEGER,
        0,
        "Give the log probabilities of this many tokens at each place.",
        aliases=("logprobs",),
        low=0,
        high=INT32_MAX,
        soft=True,
    ),
    Field("post_sampling_probs", Kind.BOOLEAN, False, "Probabilities after the sampling chain, not before."),
    Field(
        "backend_sampling",
        Kind.BOOLEAN,
        False,
        "Sample on the device, if the server was started with `--backend-sampling`; the answer is the same.",
    ),
    Field("samplers", Kind.SAMPLERS, SAMPLERS, "Order of the samplers, as names or as codes."),
    Field("dynatemp_range", Kind.NUMBER, 0.0, "Range of the dynamic temperature; 0 is off."),
    Field("dynatemp_exponent", Kind.NUMBER, 1.0, "Exponent of the dynamic temperature."),
    Field("top_n_sigma", Kind.NUMBER, -1.0, "Standard deviations kept below the top logit; -1 is off."),
    Field("typical_p", Kind.NUMBER, 1.0, "Locally typical sampling; 1 is off."),
    Field(
        "xtc_probability", Kind.NUMBER, 0.0, "Chance of removing top tokens; 0 is off.", low=0.0, high=1.0, soft=True
    ),
    Field("xtc_threshold", Kind.NUMBER, 0.1, "Probability above which XTC removes.", low=0.0, high=1.0, soft=True),
    Field("dry_multiplier", Kind.NUMBER, 0.0, "Strength of the DRY penalty; 0 is off."),
    Field("dry_base", Kind.NUMBER, 1.75, "Base of the DRY penalty; below 1 is the default."),
    Field("dry_allowed_length", Kind.INTEGER, 2, "Repetition that DRY leaves alone.", low=0, high=INT32_MAX),
    Field("dry_penalty_last_n", Kind.INTEGER, 64, "Tokens that DRY looks back; 0 is off.", low=0, high=INT32_MAX),
    Field(
        "dry_sequence_breakers",
        Kind.STRINGS,
        ("\n", ":", '"', "*"),
        "Texts that DRY does not look across.",
        low=1,
        high=MAX_BREAKERS,
    ),
    Field(
        "mirostat", Kind.INTEGER, 0, "Mirostat 1 or 2, in place of the samplers; 0 is off.", low=0, high=2, soft=True
    ),
    Field("mirostat_tau", Kind.NUMBER, 5.0, "Target entropy of Mirostat."),
    Field("mirostat_eta", Kind.NUMBER, 0.1, "Learning rate of Mirostat."),
    Field(
        "adaptive_target",
        Kind.NUMBER,
        -1.0,
        "Probability that adaptive-p aims at, if it is among the samplers; below 0 is off.",
        low=-FLOAT32_MAX,
        high=1.0,
        soft=True,
    ),
    Field("adaptive_decay", Kind.NUMBER, 0.9, "How long adaptive-p remembers.", low=0.0, high=0.99),
    # --- constraints
    Field(
        "grammar",
        Kind.STRING,
        "",
        "A GBNF grammar that the answer follows from its first token on, thoughts included, where `json_schema` and "
        "`regex` hold after them; or one in llguidance's Lark, which begins with `%llguidance {}`.",
    ),
    Field("grammar_lazy", Kind.BOOLEAN, False, "The grammar holds only from the first of `grammar_triggers` on."),
    Field(
        "grammar_triggers",
        Kind.ARRAY,
        [],
        "What wakes a lazy grammar.",
        high=MAX_TRIGGERS,
        shape=list[Trigger],
    ),
    Field("preserved_tokens", Kind.STRINGS, (), "Control tokens that the answer's text shows.", high=MAX_TRIGGERS),
    Field(
        "json_schema",
        Kind.ANY,
        None,
        "A JSON Schema that the answer is valid for, in chats after the thought. What cannot be enforced is refused.",
        aliases=("guided_json",),
    ),
    Field(
        "regex",
        Kind.STRING,
        "",
        "A regular expression that the whole answer matches, in chats after the thought.",
        aliases=("guided_regex",),
        high=MAX_PATTERN,
    ),
    Field(
        "reasoning_budget_tokens",
        Kind.INTEGER,
        -1,
        "Most tokens of reasoning; -1 is no limit.",
        aliases=("thinking_budget_tokens",),
        low=-1,
        high=INT32_MAX,
    ),
    Field("reasoning_budget_message", Kind.STRING, "", "Said before a thought is ended that has used up its tokens."),
    Field("reasoning_budget_start_tag", Kind.STRING, "", "What begins a thought; a chat knows it from its template."),
    Field(
        "reasoning_budget_end_tags",
        Kind.STOP,
        (),
        "What ends a thought; the first is what is forced.",
        aliases=("reasoning_budget_end_tag",),
        high=MAX_STOPS,
    ),
    Field("generation_prompt", Kind.STRING, "", "The end of the prompt, in which a thought may have begun."),
    Field("reasoning_control", Kind.BOOLEAN, False, "Let thoughts be ended by POST /v1/chat/completions/control."),
    Field(
        "reasoning_format",
        Kind.STRING,
        "deepseek",
        "Chats: where thoughts go. `none` leaves them in the content, others put them into `reasoning_content`, "
        "`deepseek-legacy` into both.",
        one_of=REASONING_FORMATS,
    ),
)
"""Parameters of every route that generates text."""

TEXT: tuple[Field, ...] = (
    Field("suffix", Kind.STRING, "", "Text after the gap that the answer fills; needs a model that has learnt infill."),
    Field(
        "best_of",
        Kind.INTEGER,
        None,
        "Generate this many answers, at most the number of slots, and give the `n` of them whose tokens are the most "
        "likely; not in streams.",
    ),
    Field(
        "logprobs",
        Kind.INTEGER,
        None,
        "Give each token's log probability, and those of this many most likely ones.",
        low=0,
        high=INT32_MAX,
        soft=True,
    ),
)
"""Further parameters of `/v1/completions`."""

INFILL: tuple[Field, ...] = (
    Field("input_prefix", Kind.PROMPT, None, "The text before the gap.", required=True),
    Field("input_suffix", Kind.PROMPT, None, "The text after the gap.", required=True),
    Field("input_extra", Kind.SHAPE, [], "Further files, as context.", high=MAX_EXTRA, shape=list[ExtraFile]),
    Field("prompt", Kind.STRING, "", "The beginning of what fills the gap."),
)
"""Further parameters of `/infill`."""


def _is_given(value: Any) -> bool:
    return value is not None


def _is_not_text(modalities: tuple[str, ...]) -> bool:
    return any(each != "text" for each in modalities)


CHAT: tuple[Field, ...] = (
    Field("messages", Kind.ANY, None, "The chat so far.", required=True, shape=list[Message]),
    Field("logprobs", Kind.BOOLEAN, False, "Give log probabilities."),
    Field(
        "top_logprobs", Kind.INTEGER, None, "Give them for this many of the most likely tokens.", low=0, high=INT32_MAX
    ),
    Field("tools", Kind.ARRAY, [], "Functions that the model may call.", shape=list[Tool]),
    Field(
        "tool_choice",
        Kind.ANY,
        "auto",
        "`auto`, `none`, `required`, `{type: function, function: {name}}` for a call of that one, or `{type: "
        "allowed_tools, allowed_tools: {mode, tools}}`.",
    ),
    Field("parallel_tool_calls", Kind.BOOLEAN, True, "Whether one answer may call several functions."),
    Field(
        "response_format",
        Kind.OBJECT,
        {},
        "`{type: text}`, `{type: json_object}`, or `{type: json_schema, json_schema: {schema}}`: what the answer is "
        "after its thought. The schema is always enforced, and what cannot be is refused; only where `json_schema` "
        "says `strict: false`, `uniqueItems` may be left to the model.",
    ),
    Field("add_generation_prompt", Kind.BOOLEAN, None, "End the prompt with the beginning of an answer."),
    Field(
        "continue_final_message",
        Kind.ANY,
        None,
        "Continue the last message instead of answering it: `true`, or `content` or `reasoning_content` of it.",
    ),
    Field("chat_template_kwargs", Kind.OBJECT, {}, "Further variables for the chat template."),
    Field("reasoning_effort", Kind.STRING, None, "How much to think; `none` switches thinking off."),
    Field("functions", Kind.ANY, None, "Refused: the old form of `tools`."),
    Field("function_call", Kind.ANY, None, "Refused: the old form of `tool_choice`."),
    Field("modalities", Kind.STRINGS, ("text",), "`text`; answers do not sound yet.", high=2, later=_is_not_text),
    Field("audio", Kind.ANY, None, "Answers do not sound yet.", later=_is_given),
    Field("prediction", Kind.ANY, None, "Accepted; it would make the same answer come sooner.", inert=True),
    Field("web_search_options", Kind.ANY, None, "Accepted, and ignored: nothing is searched.", inert=True),
)
"""Further parameters of `/v1/chat/completions`; `logprobs` is a boolean there."""

TOKENIZE: tuple[Field, ...] = (
    Field("content", Kind.PROMPT, [], "A text, or a list of texts and token ids."),
    Field("add_special", Kind.BOOLEAN, False, "Add the tokens that the model wants at the beginning and the end."),
    Field("parse_special", Kind.BOOLEAN, True, "Read `<|im_start|>` and the like as the tokens they name."),
    Field("with_pieces", Kind.BOOLEAN, False, "Also give each token's text, or its bytes where they are no text."),
)
"""Parameters of `/tokenize`."""

DETOKENIZE: tuple[Field, ...] = (Field("tokens", Kind.ARRAY, [], "Token ids.", shape=list[int]),)
"""Parameters of `/detokenize`."""

CONTROL: tuple[Field, ...] = (
    Field("id", Kind.STRING, None, "The completion's id.", required=True),
    Field("action", Kind.STRING, None, "What to do to it.", required=True, one_of=("reasoning_end",)),
)
"""Parameters of `/v1/chat/completions/control`."""

SLOT_FILE: tuple[Field, ...] = (
    Field("filename", Kind.STRING, None, "A plain name; the file is in the directory of `--slot-save-path`."),
)
"""Parameters of `/slots/{id_slot}`."""

COMPLETION_TABLE = Table(COMPLETION)
NATIVE_TABLE = Table((PROMPT, *COMPLETION))
TEXT_TABLE = Table((PROMPT, *COMPLETION, *TEXT))
INFILL_TABLE = Table((*COMPLETION, *INFILL))
CHAT_TABLE = Table((*COMPLETION, *CHAT))
CONTROL_TABLE = Table(CONTROL)
SLOT_FILE_TABLE = Table(SLOT_FILE)
TOKENIZE_TABLE = Table(TOKENIZE)
DETOKENIZE_TABLE = Table(DETOKENIZE)
