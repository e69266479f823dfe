"""Configuration: frozen values that the other parts take; `flags` fills them from argv and the environment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
DEMO_MODEL = ASSETS / "demo.gguf"
"""The model served when none is named."""
WEB_UI = ASSETS / "webui"
"""Where `make setup` puts the web UI."""


N_SLOTS_MAX = 256
"""LLAMA_MAX_SEQ: sequences that a context can tell apart."""


class Pooling(enum.Enum):
    """How the vectors of an input's tokens become one vector. The value is what users write."""

    NONE = "none"
    """They stay as they are."""
    MEAN = "mean"
    CLS = "cls"
    """The first token's."""
    LAST = "last"
    RANK = "rank"
    """What a classifier behind them says: scores instead of an embedding."""


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """How a model's file is read, and where its weights go. Names and defaults are llama-server's."""

    mode: str = "auto"
    """auto, none, mmap, mlock, mmap+mlock or dio."""
    lazy: str = "auto"
    """Whether rows of marked tensors are read from disk on demand: on, off, or auto for those above 4 GiB."""
    check_tensors: bool = False
    """Look for values that are not numbers."""
    overrides: tuple[tuple[str, int | float | bool | str], ...] = ()
    """Metadata by key that takes the place of the file's."""
    devices: tuple[str, ...] | None = None
    """Names of the devices that layers may go to; None is all, nothing is the CPU alone."""
    split_mode: str = "layer"
    """none, layer, row or tensor."""
    tensor_split: tuple[float, ...] = ()
    """Share of the model for each device; nothing leaves it to libllama."""
    main_gpu: int = 0
    tensor_buffers: tuple[tuple[str, str], ...] = ()
    """Regular expression of tensor names, and the kind of buffer that they go to."""
    repack: bool = True
    """Weights may be rearranged for the CPU."""
    no_host: bool = False
    """Bypass the devices' host buffers."""
    numa: str | None = None
    """distribute, isolate or numactl."""


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """Where and how CPU threads run. None leaves it to libllama."""

    cpus: frozenset[int] | None = None
    is_strict: bool | None = None
    """One CPU for each thread."""
    priority: int | None = None
    """-1 low, 0 normal, 1 medium, 2 high, 3 realtime."""
    poll: int | None = None
    """0 sleeps until there is work, 100 never does."""


@dataclass(frozen=True, slots=True)
class ComputeConfig:
    """How a context computes and what its cache holds. Names and defaults are llama-server's."""

    flash_attn: bool | None = None
    """None lets libllama decide."""
    type_k: str = "f16"
    type_v: str = "f16"
    """ggml's names of the types of the KV cache."""
    kv_offload: bool = True
    """The KV cache lies on the device."""
    op_offload: bool = True
    """Large operations on tensors of the host are computed on the device."""
    rope_scaling: str | None = None
    """none, linear or yarn; None is what the model says."""
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    """0 is what the model says, in both."""
    yarn_orig_ctx: int = 0
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_slow: float = -1.0
    yarn_beta_fast: float = -1.0
    """A negative number is what the model says, in all of them."""
    cpu: CpuConfig = CpuConfig()
    """Threads while generating."""
    cpu_batch: CpuConfig = CpuConfig()
    """Threads for prompts; where None, as `cpu` says."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the model is: a file of this machine, or where it is fetched from. Names are llama-server's."""

    path: str | None = None
    """The file as it was named; with `url` what is fetched goes there."""
    repo: str | None = None
    """`user/model` or `user/model:quant` of Hugging Face."""
    file: str | None = None
    """The file of that repository, in place of the one that the quant names."""
    url: str | None = None
    token: str | None = None
    """Of Hugging Face."""
    is_offline: bool = False
    """Take what the cache holds and ask nobody."""
    wants_mmproj: bool = True
    """Look for a projector for images in the repository."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a context whose size nobody chose is made to fit into memory."""

    is_on: bool = True
    target: tuple[int, ...] = (1024,)
    """MiB to leave free on each device; the last is for all further ones."""
    n_ctx: int = 4096
    """Tokens that each slot has at any rate, or the model's training context if that is less."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the engine needs to load a model. Names and defaults are llama-server's."""

    model: Path = DEMO_MODEL
    n_ctx: int | None = None
    """Context cells in all; 0 takes the model's training context, None no more of it than `fit` allows."""
    fit: FitConfig = FitConfig()
    n_parallel: int = -1
    """Slots; -1 is four over one unified KV cache."""
    kv_unified: bool | None = None
    """One pool of cells for all slots; None decides as llama-server does: only with `n_parallel` -1."""
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int = -1
    """Compute threads when generating; -1 chooses."""
    n_threads_batch: int = -1
    """Compute threads for prompts; -1 is the same as `n_threads`."""
    n_gpu_layers: int = -1
    """Layers on the GPU; -1 is all that fit the devices present, -2 is all."""
    warmup: bool = True
    swa_full: bool = False
    """Layers with a sliding window keep the whole context too, which costs memory."""
    n_ctx_slot: int = 0
    """Most tokens of one slot in a unified cache; 0 is the whole context (`--kv-unified-per-slot`)."""
    loras: tuple[tuple[Path, float], ...] = ()
    """LoRA adapters with the scale that tasks get unless they say otherwise."""
    queue_size: int = 1024
    """Requests that may wait for a slot before further ones are refused."""
    queue_timeout: float = 0.0
    """Seconds that a request may wait for a slot; 0 is no limit."""
    target_step_ms: float = 50.0
    """A step that generates takes only as many prompt tokens as keep it about this short."""
    context_shift: bool = False
    """Drop the oldest tokens of a full context and go on, instead of ending the answer."""
    cache_ram: int = -2
    """MiB of RAM for cached prompts; 0 is off, -1 no limit, -2 a share of the memory that is free at the start."""
    cache_disk: Path | None = None
    """Directory of the disk tier."""
    cache_disk_size: int = 16384
    """MiB that the disk tier may fill."""
    n_checkpoints: int = 32
    """Checkpoints a sequence keeps, for models whose memory cannot be cut anywhere; 0 is none."""
    checkpoint_min_step: int = 8192
    """Prompt tokens after which a checkpoint is taken even within a turn."""
    embeddings: bool = False
    """Compute embeddings too, in a context of their own. A model that does nothing else does so anyway."""
    reranking: bool = False
    """The same with the pooling RANK."""
    pooling: Pooling | None = None
    """None takes what the model says, which is NONE if it says nothing."""
    lora_init_without_apply: bool = False
    """LoRA adapters begin with the scale 0, whatever `loras` says."""
    control_vectors: tuple[tuple[Path, float], ...] = ()
    """Control vectors with their scales, which are added up."""
    control_vector_layers: tuple[int, int] | None = None
    """First and last layer that control vectors are applied to; None is all."""
    load: LoadConfig = LoadConfig()
    compute: ComputeConfig = ComputeConfig()
    backend_sampling: bool = False
    """Sample on the device, where the samplers of a request allow it."""


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """Sampling parameters of requests that set none, by the requests' names for them.

    None leaves it to the model's file, and then to the parameter's own default.
    """

    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_last_n: int | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] | None = None
    ignore_eos: bool | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    top_n_sigma: float | None = None
    typical_p: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: tuple[str, ...] | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    adaptive_target: float | None = None
    adaptive_decay: float | None = None
    samplers: tuple[str, ...] | None = None
    grammar: str | None = None
    """GBNF, or llguidance's Lark behind `%llguidance {}`."""
    json_schema: Any = None
    """A JSON Schema."""

    @property
    def given(self) -> dict[str, Any]:
        """What is set, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written to the terminal and to the log file."""

    verbosity: int = 3
    """0 only the program's own output, 1 errors, 2 warnings, 3 info, 4 trace, 5 and above debug."""
    disable: bool = False
    file: Path | None = None
    colors: bool | None = None
    """None decides by the terminal and NO_COLOR."""
    prefix: bool = True
    """A letter for the level before each message."""
    timestamps: bool = True
    jsonl: bool = False
    """One JSON object a line on stdout instead of text."""


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """How the server is reached. Names and defaults are llama-server's, where nothing else is said."""

    reuse_port: bool = False
    """Other processes may listen on the same port (SO_REUSEPORT)."""
    static_path: Path | None = None
    """Directory whose files are served in place of the built-in page."""
    ui: bool = True
    """Serve the page, or the files that take its place."""
    web_ui: Path = WEB_UI
    """Directory of the built web UI; where there is none, the plain page is served."""
    allowed_hosts: frozenset[str] = frozenset()
    """Names that a request may call the server by, beside local ones, where no API key protects it; `*` is any."""
    api_prefix: str = ""
    """Begins every path, as `/llama` does; without a slash at its end."""
    cors_origins: str | None = None
    """Origins whose pages may call the server, comma-separated; `*` is any, `localhost` any of this machine.
    None is `*` where an API key is needed and `localhost` where none is, else any page could use a local server."""
    cors_methods: str = "GET, POST, DELETE, OPTIONS"
    cors_headers: str = "*"
    cors_credentials: bool = True
    ssl_key_file: Path | None = None
    ssl_cert_file: Path | None = None
    """PEM files; both or none are given."""
    timeout: int = 3600
    """Seconds that reading a request or writing to a client may stand still."""
    predict_route: str = ""
    """Path of Vertex AI's route; empty where that does not run the server."""
    health_route: str = ""
    """A further path of `/health`."""
    sse_ping_interval: int = 30
    """Seconds of silence after which a stream sends a comment; -1 is never."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What the HTTP side needs."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    source: ModelSource = field(default_factory=ModelSource)
    """Where `engine.model` comes from."""
    http: HttpConfig = field(default_factory=HttpConfig)
    log: LogConfig = field(default_factory=LogConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    host: str = "127.0.0.1"
    """Addresses, comma-separated; one that ends in `.sock` is the path of a UNIX socket."""
    port: int = 8080
    """0 takes any that is free."""
    alias: str | None = None
    """Model name shown to clients, and others that it has, comma-separated; None takes its source's."""
    api_keys: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    """Words about the model that `/v1/models` shows."""
    ui_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that `/props` hands to the page."""
    escape: bool = True
    """Flags' texts were read with `\\n` and the like as in C."""
    props: bool = False
    """Take `POST /props`."""
    stop: tuple[str, ...] = ()
    """Stop strings of requests that name none."""
    special: bool = False
    """Answers show special tokens."""
    spm_infill: bool = False
    """Infill prompts put the suffix first."""
    template_kwargs: tuple[tuple[str, Any], ...] = ()
    """Variables of the chat template, which a request's own win over."""
    reasoning_format: str = "auto"
    """Default of a request's `reasoning_format`."""
    preserve_reasoning: bool = True
    """Tell the chat template to keep the thoughts of earlier turns."""
    skip_chat_parsing: bool = False
    """Thoughts and tool calls stay in an answer's content."""
    prefill_assistant: bool = True
    """Continue a chat's last message if it is the assistant's."""
    chat_template: str | None = None
    """Jinja source that replaces the model's own, or the name of a built-in template."""
    n_predict: int = -1
    """`n_predict` of requests that do not say; -1 is no limit."""
    n_keep: int = 0
    """Default of a request's `n_keep`."""
    cache_prompt: bool = True
    """Default of a request's `cache_prompt`."""
    n_cache_reuse: int = 0
    """Default of a request's `n_cache_reuse`."""
    reasoning_budget: int = -1
    """Most tokens of a thought, where a request does not say; -1 is no limit."""
    reasoning_budget_message: str = ""
    """Said before a thought is ended that has used up its tokens, where a request does not say."""
    embd_normalize: int = 2
    """Default of an embedding request's `embd_normalize`."""
    salt_by_key: bool = False
    """Only requests with the same API key share a cache."""
    slot_save_path: Path | None = None
    """Directory of slot files; None switches saving and restoring off."""
    log_prompts_dir: Path | None = None
    """Directory that every prompt is written to; None writes none."""
    metrics: bool = False
    """Serve `/metrics`."""
    slots: bool = True
    """Serve `/slots`."""
    sleep_idle_seconds: int = -1
    """Seconds without a request after which the model is unloaded, until the next one comes; -1 is never."""
    max_body: int = 64 << 20
    """Bytes of a request body that are read before it is refused."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What the start says about flags that have no effect."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """The model's names, the shown one first: without an alias the repository or the path, as it was given."""
        if self.alias:
            return tuple(self.alias.split(","))
        path = DEMO_MODEL.name if self.engine.model == DEMO_MODEL else str(self.engine.model)
        return (self.source.repo or self.source.path or path,)

    @property
    def template_variables(self) -> dict[str, Any]:
        """What the chat template gets of every request."""
        variables = {"preserve_reasoning": self.preserve_reasoning, **dict(self.template_kwargs)}
        return {name: value for name, value in variables.items() if value is not None}
