"""Flags: llama-server's command line and its LLAMA_ARG_* variables, turned into a configuration.

One table drives parsing, the environment, `--help` and the README. Imported before anything heavy, so that `--help` and
a wrong flag are answered at once.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import samplers
from .config import N_SLOTS_MAX, EngineConfig, LogConfig, Pooling, SamplingConfig, ServerConfig
from .errors import StartupError

INT_MAX = 2**31 - 1
FLOAT32_MAX = 3.4028234663852886e38
N_THREADS_MAX = 512
"""GGML_MAX_N_THREADS"""


class UsageError(StartupError):
    """The command line is wrong."""


class Show(Exception):
    """`--help` or `--version`: `str()` says which."""


# --- values


def integer(low: int, high: int = INT_MAX) -> Callable[[str], int]:
    """A parser of whole numbers within [low, high]."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{number} is not within {low}..{high}")
        return number

    return parse


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    """A parser of finite numbers within [low, high]."""

    def parse(value: str) -> float:
        try:
            result = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None
        if not (low <= result <= high and math.isfinite(result)):
            raise ValueError(f"{result:g} is not within {low:g}..{high:g}")
        return result

    return parse


def boolean(value: str) -> bool:
    """The words that llama-server takes for yes and no."""
    if value in ("on", "enabled", "true", "1"):
        return True
    if value in ("off", "disabled", "false", "0"):
        return False
    raise ValueError(f"{value!r} is neither on, enabled, true, 1 nor off, disabled, false, 0")


def on_off_auto(value: str) -> bool | None:
    if value in ("auto", "-1"):
        return None
    try:
        return boolean(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of on, off, auto") from None


def n_slots(value: str) -> int:
    number = integer(-1, N_SLOTS_MAX)(value)
    if number == 0:
        raise ValueError(f"0 slots cannot serve anything; give 1..{N_SLOTS_MAX}, or -1 for automatic")
    return number


def n_threads(value: str) -> int:
    number = integer(-1, N_THREADS_MAX)(value)
    return number if number > 0 else -1


def n_gpu_layers(value: str) -> int:
    words = {"auto": -1, "all": -2}
    if value in words:
        return words[value]
    try:
        return integer(0)(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of layers, nor auto, nor all") from None


def cache_ram(value: str) -> int:
    """MiB; -2 is automatic."""
    if value == "auto":
        return -2
    try:
        return integer(-1)(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of MiB, nor -1 for no limit, nor 0 for off, nor auto") from None


def model_file(value: str) -> Path:
    return _gguf_file(value, "model")


def _gguf_file(value: str, kind: str) -> Path:
    path = Path(value).expanduser()
    if path.is_dir():
        raise StartupError(f"{value} is a directory, not a GGUF file{_inside(path)}")
    if not path.is_file():
        raise StartupError(f"there is no {kind} file {value}{_near(path)}")
    return path


def adapters(value: str) -> tuple[tuple[Path, float], ...]:
    """Comma-separated files, each applied in full; a name with a comma stands in double quotes."""
    return tuple((_gguf_file(name, "adapter"), 1.0) for name in _comma_separated(value))


def scaled_adapters(value: str) -> tuple[tuple[Path, float], ...]:
    """Comma-separated `FNAME:SCALE`."""
    return tuple(map(_scaled_adapter, _comma_separated(value)))


def _scaled_adapter(entry: str) -> tuple[Path, float]:
    name, colon, scale = entry.rpartition(":")
    if not colon:
        raise ValueError(f"{entry!r} has no scale: give FNAME:SCALE")
    return _gguf_file(name, "adapter"), number(-FLOAT32_MAX, FLOAT32_MAX)(scale)


def _comma_separated(value: str) -> list[str]:
    names = [name for row in csv.reader([value]) for name in row if name]
    if not names:
        raise ValueError("there is no file name in it")
    return names


def directory(value: str) -> Path:
    """A directory to write into; made if need be."""
    path = Path(value).expanduser()
    if path.exists() and not path.is_dir():
        raise StartupError(f"{value} is not a directory")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"cannot make the directory {value}: {error.strerror}") from None
    return path


def _inside(directory: Path) -> str:
    found = sorted(path.name for path in directory.glob("*.gguf"))
    return f"; it holds {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}" if found else ""


def _near(missing: Path) -> str:
    names = [path.name for path in missing.parent.glob("*.gguf")] if missing.parent.is_dir() else []
    close = difflib.get_close_matches(missing.name, names, n=1)
    return f"; did you mean {missing.with_name(close[0])}?" if close else ""


def pooling(value: str) -> Pooling:
    try:
        return Pooling(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of {', '.join(each.value for each in Pooling)}") from None


def text_file(value: str) -> str:
    try:
        return Path(value).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartupError(f"cannot read {value}: {reason}") from None


def alias(value: str) -> str:
    """llama-server shows the alphabetically first of a comma-separated list as the model's name."""
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise ValueError("the name is empty")
    return min(names)


def api_keys(value: str) -> frozenset[str]:
    keys = frozenset(key.strip() for key in value.split(",") if key.strip())
    if not keys:
        # An empty key would leave the server open although its owner asked for a lock.
        raise ValueError("there is no key in it")
    return keys


def api_key_file(value: str) -> frozenset[str]:
    lines = [line.strip() for line in text_file(value).splitlines()]
    keys = frozenset(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise StartupError(f"there is no key in {value}")
    return keys


def chat_template(value: str) -> str:
    if value != "chatml" and "{" not in value:
        raise ValueError(
            f"{value!r} is not a template: give Jinja source, or chatml; --chat-template-file takes a file"
        )
    return value


def seed(value: str) -> int:
    """32 bits; -1 is random."""
    return integer(-1, 2**32 - 1)(value) & 0xFFFFFFFF


def temperature(value: str) -> float:
    return max(0.0, real(value))


def real(value: str) -> float:
    return number(-FLOAT32_MAX, FLOAT32_MAX)(value)


def repeat_penalty(value: str) -> float:
    penalty = real(value)
    if penalty <= 0:
        raise ValueError(f"repeat-penalty must be finite and greater than 0, but is {value}")
    return penalty


def sampler_names(value: str) -> tuple[str, ...]:
    return samplers.from_names(name for name in value.split(";") if name)


def logit_bias(value: str) -> tuple[tuple[int, float], ...]:
    """`TOKEN_ID+BIAS` or `TOKEN_ID-BIAS`."""
    match = re.fullmatch(r"\s*(\d{1,10})\s*([+-])(.*)", value, re.DOTALL)
    if match is None:
        raise ValueError(f"{value!r} is not TOKEN_ID+BIAS or TOKEN_ID-BIAS")
    token, sign, size = match.groups()
    bias = math.inf if size.strip().lower() in ("inf", "infinity") else real(size)
    if sign == "+" and bias == math.inf:
        raise ValueError("a bias of +inf would leave no numbers to choose by")
    return ((int(token), -bias if sign == "-" else bias),)


def sequence_breaker(value: str) -> tuple[str, ...]:
    """One more breaker, with `\\n` and the like read as in C. `none` drops all that were given before."""
    return ("",) if value == "none" else (_ESCAPE.sub(_unescaped, value),)


_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)


def _unescaped(match: re.Match[str]) -> str:
    code, letter = match.groups()
    if code is not None:
        return chr(int(code, 16))
    return {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}.get(letter, match.group())


# --- the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One row. `target`: a field of ServerConfig; `engine.`, `log.` or `sampling.` and a field of it; or `nothing`."""

    names: tuple[str, ...]
    target: str
    help: str
    """`{}` stands for the default."""
    env: str = ""

    @property
    def all_names(self) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class Value(Flag):
    """A flag that takes a value. `parse` raises ValueError (the value is wrong) or StartupError (what it names is)."""

    metavar: str
    parse: Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Flag):
    """A flag with an opposite."""

    off: tuple[str, ...]

    @property
    def all_names(self) -> tuple[str, ...]:
        return self.names + self.off

    @property
    def env_off(self) -> str:
        """The variable that switches it off by being set at all."""
        return self.env.replace("LLAMA_ARG_", "LLAMA_ARG_NO_") if self.env else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Flag):
    """A flag that stands for one value of its target."""

    value: object


def _sampling(
    names: str, field: str, parse: Callable[[str], object], help: str, env: str = "", metavar: str = "N"
) -> Value:
    """The default of a request's sampling parameter."""
    return Value(
        names=tuple(names.split()), target=f"sampling.{field}", metavar=metavar, parse=parse, env=env, help=help
    )


SAMPLING: tuple[Flag, ...] = (
    _sampling(
        "--samplers",
        "samplers",
        sampler_names,
        f"order of the samplers (default: {';'.join(samplers.SAMPLERS)})",
        metavar="NAME;...",
    ),
    _sampling(
        "--sampler-seq --sampling-seq",
        "samplers",
        samplers.from_codes,
        f"the same with a letter for each (default: {''.join(samplers.CODES[name] for name in samplers.SAMPLERS)})",
        metavar="SEQUENCE",
    ),
    _sampling("-s --seed", "seed", seed, "seed of the random numbers (default: -1 = random)", metavar="SEED"),
    Constant(
        names=("--ignore-eos",),
        target="sampling.ignore_eos",
        value=True,
        help="never choose a token that ends the answer",
    ),
    _sampling(
        "--temp --temperature",
        "temperature",
        temperature,
        "spread of the choice (default: 0.8, 0 = the most likely token)",
        "LLAMA_ARG_TEMPERATURE",
    ),
    _sampling("--top-k", "top_k", integer(-INT_MAX), "most candidates (default: 40, 0 = all)", "LLAMA_ARG_TOP_K"),
    _sampling(
        "--top-p", "top_p", real, "probability of the candidates together (default: 0.95, 1 = off)", "LLAMA_ARG_TOP_P"
    ),
    _sampling(
        "--min-p",
        "min_p",
        real,
        "least probability, relative to the most likely token's (default: 0.05, 0 = off)",
        "LLAMA_ARG_MIN_P",
    ),
    _sampling(
        "--top-nsigma --top-n-sigma",
        "top_n_sigma",
        real,
        "standard deviations below the largest logit that are candidates (default: -1 = off)",
    ),
    _sampling("--xtc-probability", "xtc_probability", real, "chance that XTC removes top tokens (default: 0 = off)"),
    _sampling("--xtc-threshold", "xtc_threshold", real, "probability above which it does (default: 0.1)"),
    _sampling("--typical --typical-p", "typical_p", real, "locally typical sampling (default: 1 = off)"),
    _sampling("--repeat-last-n", "repeat_last_n", integer(0), "tokens that penalties look back (default: 64, 0 = off)"),
    _sampling(
        "--repeat-penalty",
        "repeat_penalty",
        repeat_penalty,
        "divides the logits of repeated tokens (default: 1 = off)",
        "LLAMA_ARG_REPEAT_PENALTY",
    ),
    _sampling(
        "--presence-penalty",
        "presence_penalty",
        real,
        "taken from a token's logit once it was used (default: 0 = off)",
        "LLAMA_ARG_PRESENCE_PENALTY",
    ),
    _sampling(
        "--frequency-penalty",
        "frequency_penalty",
        real,
        "taken from it for each time (default: 0 = off)",
        "LLAMA_ARG_FREQUENCY_PENALTY",
    ),
    _sampling("--dry-multiplier", "dry_multiplier", real, "strength of the DRY penalty (default: 0 = off)"),
    _sampling("--dry-base", "dry_base", number(1, FLOAT32_MAX), "its base (default: 1.75)"),
    _sampling("--dry-allowed-length", "dry_allowed_length", integer(0), "repetition it leaves alone (default: 2)"),
    _sampling("--dry-penalty-last-n", "dry_penalty_last_n", integer(0), "tokens it looks back (default: 64, 0 = off)"),
    _sampling(
        "--dry-sequence-breaker",
        "dry_sequence_breakers",
        sequence_breaker,
        'a text it does not look across; may be given several times (default: \\n, :, ", *; none = none)',
        metavar="STRING",
    ),
    _sampling(
        "--adaptive-target",
        "adaptive_target",
        number(-FLOAT32_MAX, 1),
        "probability that adaptive-p aims at, if it is among the samplers (default: -1 = off)",
    ),
    _sampling("--adaptive-decay", "adaptive_decay", number(0, 0.99), "how long it remembers (default: 0.9)"),
    _sampling("--dynatemp-range", "dynatemp_range", real, "range of the dynamic temperature (default: 0 = off)"),
    _sampling("--dynatemp-exp", "dynatemp_exponent", real, "its exponent (default: 1)"),
    _sampling("--mirostat", "mirostat", integer(0, 2), "Mirostat 1 or 2, in place of the samplers (default: 0 = off)"),
    _sampling("--mirostat-lr", "mirostat_eta", real, "its learning rate (default: 0.1)"),
    _sampling("--mirostat-ent", "mirostat_tau", real, "its target entropy (default: 5)"),
    _sampling(
        "-l --logit-bias",
        "logit_bias",
        logit_bias,
        "make a token more or less likely; may be given several times",
        metavar="TOKEN_ID(+/-)BIAS",
    ),
)
"""Defaults of requests; what is not given is the model's own (`general.sampling.*` in its file), else as said here."""

GROUPS: dict[str, tuple[Flag, ...]] = {
    "common": (
        Constant(names=("-h", "--help", "--usage"), target="show", value="help", help="print this and exit"),
        Constant(names=("--version",), target="show", value="version", help="print the version and exit"),
        Value(
            names=("-m", "--model"),
            target="engine.model",
            metavar="FNAME",
            parse=model_file,
            env="LLAMA_ARG_MODEL",
            help="GGUF file to serve (default: the built-in demo model)",
        ),
        Value(
            names=("-c", "--ctx-size"),
            target="engine.n_ctx",
            metavar="N",
            parse=integer(0),
            env="LLAMA_ARG_CTX_SIZE",
            help="tokens of context in all (default: {}, 0 = what the model was trained with)",
        ),
        Value(
            names=("-n", "--predict", "--n-predict"),
            target="n_predict",
            metavar="N",
            parse=integer(-1),
            env="LLAMA_ARG_N_PREDICT",
            help="most tokens that a request may generate (default: {}, -1 = no limit)",
        ),
        Value(
            names=("--keep",),
            target="n_keep",
            metavar="N",
            parse=integer(-1),
            help="prompt tokens that a context shift keeps (default: {}, -1 = all)",
        ),
        Value(
            names=("--reasoning-budget",),
            target="reasoning_budget",
            metavar="N",
            parse=integer(-1),
            env="LLAMA_ARG_THINK_BUDGET",
            help="most tokens that a model may think before it has to answer (default: {}, -1 = no limit)",
        ),
        Value(
            names=("--reasoning-budget-message",),
            target="reasoning_budget_message",
            metavar="MESSAGE",
            parse=str,
            env="LLAMA_ARG_THINK_BUDGET_MESSAGE",
            help="what ends a thought that has used up its tokens, before the end tag (default: nothing)",
        ),
        Value(
            names=("-b", "--batch-size"),
            target="engine.n_batch",
            metavar="N",
            parse=integer(1),
            env="LLAMA_ARG_BATCH",
            help="most tokens in one step of the engine (default: {})",
        ),
        Value(
            names=("-ub", "--ubatch-size"),
            target="engine.n_ubatch",
            metavar="N",
            parse=integer(1),
            env="LLAMA_ARG_UBATCH",
            help="most tokens that are computed at once (default: {})",
        ),
        Value(
            names=("-t", "--threads"),
            target="engine.n_threads",
            metavar="N",
            parse=n_threads,
            env="LLAMA_ARG_THREADS",
            help="CPU threads while generating (default: {}, -1 = automatic)",
        ),
        Value(
            names=("-tb", "--threads-batch"),
            target="engine.n_threads_batch",
            metavar="N",
            parse=n_threads,
            help="CPU threads for prompts (default: the same as --threads)",
        ),
        Value(
            names=("-ngl", "--gpu-layers", "--n-gpu-layers"),
            target="engine.n_gpu_layers",
            metavar="N",
            parse=n_gpu_layers,
            env="LLAMA_ARG_N_GPU_LAYERS",
            help="layers on the GPU: a number, auto or all (default: auto)",
        ),
        Constant(
            names=("--swa-full",),
            target="engine.swa_full",
            value=True,
            env="LLAMA_ARG_SWA_FULL",
            help="keep the whole context in layers with a sliding window too: more memory, no checkpoints needed",
        ),
        Value(
            names=("--lora",),
            target="engine.loras",
            metavar="FNAME",
            parse=adapters,
            help="LoRA adapters to apply, comma-separated; may be given several times",
        ),
        Value(
            names=("--lora-scaled",),
            target="engine.loras",
            metavar="FNAME:SCALE,...",
            parse=scaled_adapters,
            help="LoRA adapters with scales of their own; 0 = loaded, and applied only where a request asks for it",
        ),
    ),
    "logging": (
        Constant(names=("--log-disable",), target="log.disable", value=True, help="log nothing"),
        Value(
            names=("--log-file",),
            target="log.file",
            metavar="FNAME",
            parse=Path,
            env="LLAMA_ARG_LOG_FILE",
            help="log to this file as well",
        ),
        Value(
            names=("--log-colors",),
            target="log.colors",
            metavar="[on|off|auto]",
            parse=on_off_auto,
            env="LLAMA_ARG_LOG_COLORS",
            help="colours on the terminal (default: auto)",
        ),
        Switch(
            names=("--log-jsonl",),
            off=("--no-log-jsonl",),
            target="log.jsonl",
            env="LLAMA_ARG_LOG_JSONL",
            help="log to stdout as one JSON object a line (default: {})",
        ),
        Constant(
            names=("-v", "--verbose", "--log-verbose"),
            target="log.verbosity",
            value=INT_MAX,
            help="log everything",
        ),
        Value(
            names=("-lv", "--verbosity", "--log-verbosity"),
            target="log.verbosity",
            metavar="N",
            parse=integer(0),
            env="LLAMA_ARG_LOG_VERBOSITY",
            help="how much to log: 0 output only, 1 errors, 2 warnings, 3 info, 4 trace, 5 debug (default: {})",
        ),
        Switch(
            names=("--log-prefix",),
            off=("--no-log-prefix",),
            target="log.prefix",
            env="LLAMA_ARG_LOG_PREFIX",
            help="a letter for the level before each message (default: {})",
        ),
        Switch(
            names=("--log-timestamps",),
            off=("--no-log-timestamps",),
            target="log.timestamps",
            env="LLAMA_ARG_LOG_TIMESTAMPS",
            help="the time before each message (default: {})",
        ),
    ),
    "sampling": SAMPLING,
    "server": (
        Value(
            names=("--host",),
            target="host",
            metavar="HOST",
            parse=str,
            env="LLAMA_ARG_HOST",
            help="addresses to listen on, comma-separated; a path ending in .sock is a UNIX socket (default: {})",
        ),
        Value(
            names=("--port",),
            target="port",
            metavar="PORT",
            parse=integer(0, 65535),
            env="LLAMA_ARG_PORT",
            help="port to listen on, 0 = any that is free (default: {})",
        ),
        Value(
            names=("-np", "--parallel"),
            target="engine.n_parallel",
            metavar="N",
            parse=n_slots,
            env="LLAMA_ARG_N_PARALLEL",
            help="slots: requests that are computed at the same time (default: {}, -1 = automatic)",
        ),
        Switch(
            names=("-kvu", "--kv-unified"),
            off=("-no-kvu", "--no-kv-unified"),
            target="engine.kv_unified",
            env="LLAMA_ARG_KV_UNIFIED",
            help="one pool of context shared by all slots (default: on if the number of slots is automatic)",
        ),
        Value(
            names=("--kv-unified-per-slot",),
            target="engine.n_ctx_slot",
            metavar="N",
            parse=integer(0),
            env="LLAMA_ARG_KV_UNIFIED_PER_SLOT",
            help="most tokens of one slot in a shared pool, which without -c has N for each slot (default: no limit)",
        ),
        Switch(
            names=("--context-shift",),
            off=("--no-context-shift",),
            target="engine.context_shift",
            env="LLAMA_ARG_CONTEXT_SHIFT",
            help="go on in a full context by dropping its oldest tokens (default: {})",
        ),
        Switch(
            names=("--cache-prompt",),
            off=("--no-cache-prompt",),
            target="cache_prompt",
            env="LLAMA_ARG_CACHE_PROMPT",
            help="reuse what is cached of a prompt, unless a request says otherwise (default: {})",
        ),
        Value(
            names=("--cache-reuse",),
            target="n_cache_reuse",
            metavar="N",
            parse=integer(0),
            env="LLAMA_ARG_CACHE_REUSE",
            help="least length of moved parts of a prompt to reuse by shifting them (default: {}, 0 = off)",
        ),
        Value(
            names=("-cram", "--cache-ram"),
            target="engine.cache_ram",
            metavar="MIB",
            parse=cache_ram,
            env="LLAMA_ARG_CACHE_RAM",
            help="RAM for cached prompts (default: auto = a share of what is free, -1 = no limit, 0 = off)",
        ),
        Value(
            names=("--cache-disk",),
            target="engine.cache_disk",
            metavar="PATH",
            parse=directory,
            env="LLAMA_ARG_CACHE_DISK",
            help="directory for cached prompts, which outlive the server (default: none)",
        ),
        Value(
            names=("--cache-disk-size",),
            target="engine.cache_disk_size",
            metavar="MIB",
            parse=integer(1),
            env="LLAMA_ARG_CACHE_DISK_SIZE",
            help="most that the files in that directory take (default: {})",
        ),
        Switch(
            names=("--cache-salt-by-key",),
            off=("--no-cache-salt-by-key",),
            target="salt_by_key",
            env="LLAMA_ARG_CACHE_SALT_BY_KEY",
            help="only requests with the same API key share cached prompts (default: {})",
        ),
        Value(
            names=("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"),
            target="engine.n_checkpoints",
            metavar="N",
            parse=integer(0),
            env="LLAMA_ARG_CTX_CHECKPOINTS",
            help="checkpoints of a sequence, where a model's memory cannot be cut anywhere (default: {}, 0 = none)",
        ),
        Value(
            names=("-cms", "--checkpoint-min-step"),
            target="engine.checkpoint_min_step",
            metavar="N",
            parse=integer(0),
            env="LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT",
            help="tokens between two checkpoints within one turn (default: {})",
        ),
        Value(
            names=("--slot-save-path",),
            target="slot_save_path",
            metavar="PATH",
            parse=directory,
            help="directory for what POST /slots/ID saves and restores (default: off)",
        ),
        Constant(
            names=("--embedding", "--embeddings"),
            target="engine.embeddings",
            value=True,
            env="LLAMA_ARG_EMBEDDINGS",
            help="serve embeddings too, in a context of their own beside that of chats",
        ),
        Constant(
            names=("--rerank", "--reranking"),
            target="engine.reranking",
            value=True,
            env="LLAMA_ARG_RERANKING",
            help="serve reranking: the same with --pooling rank",
        ),
        Value(
            names=("--pooling",),
            target="engine.pooling",
            metavar="{none,mean,cls,last,rank}",
            parse=pooling,
            env="LLAMA_ARG_POOLING",
            help="how the vectors of an input's tokens become one (default: what the model says)",
        ),
        Value(
            names=("--embd-normalize",),
            target="embd_normalize",
            metavar="N",
            parse=integer(-1, 1000),
            help="what of an embedding is made 1: -1 nothing, 0 the largest number (32760, not 1), 1 the sum, 2 the "
            "length, p the p-norm (default: {})",
        ),
        Value(
            names=("--target-step-ms",),
            target="engine.target_step_ms",
            metavar="MS",
            parse=number(1),
            env="LLAMA_ARG_TARGET_STEP_MS",
            help="prompts are computed beside running answers in parts that take about this long (default: {:g})",
        ),
        Value(
            names=("--queue-size",),
            target="engine.queue_size",
            metavar="N",
            parse=integer(1),
            env="LLAMA_ARG_QUEUE_SIZE",
            help="requests that may wait for a slot before more are refused (default: {})",
        ),
        Value(
            names=("--queue-timeout",),
            target="engine.queue_timeout",
            metavar="SECONDS",
            parse=number(0),
            env="LLAMA_ARG_QUEUE_TIMEOUT",
            help="how long a request may wait for a slot before it is refused (default: {:g}, 0 = no limit)",
        ),
        Switch(
            names=("--slots",),
            off=("--no-slots",),
            target="slots",
            env="LLAMA_ARG_ENDPOINT_SLOTS",
            help="tell at GET /slots what the slots do (default: {})",
        ),
        Constant(
            names=("--metrics",),
            target="metrics",
            value=True,
            env="LLAMA_ARG_ENDPOINT_METRICS",
            help="serve counters for Prometheus at GET /metrics",
        ),
        Value(
            names=("-sps", "--slot-prompt-similarity"),
            target="nothing",
            metavar="SIMILARITY",
            parse=number(0, 1),
            help="no effect here: prompts share what they have in common, in whichever slot they run",
        ),
        Switch(
            names=("--cache-idle-slots",),
            off=("--no-cache-idle-slots",),
            target="nothing",
            env="LLAMA_ARG_CACHE_IDLE_SLOTS",
            help="no effect here: what is idle is moved to RAM when its place is needed",
        ),
        Switch(
            names=("--warmup",),
            off=("--no-warmup",),
            target="engine.warmup",
            help="compute something once before serving (default: {})",
        ),
        Value(
            names=("-a", "--alias"),
            target="alias",
            metavar="STRING",
            parse=alias,
            env="LLAMA_ARG_ALIAS",
            help="the model's name for clients (default: the name of its file)",
        ),
        Value(
            names=("--api-key",),
            target="api_keys",
            metavar="KEY",
            parse=api_keys,
            env="LLAMA_API_KEY",
            help="keys that clients may use, comma-separated (default: none is needed)",
        ),
        Value(
            names=("--api-key-file",),
            target="api_keys",
            metavar="FNAME",
            parse=api_key_file,
            env="LLAMA_ARG_API_KEY_FILE",
            help="file with one key a line; lines that begin with # are comments",
        ),
        Value(
            names=("--chat-template",),
            target="chat_template",
            metavar="JINJA_TEMPLATE",
            parse=chat_template,
            env="LLAMA_ARG_CHAT_TEMPLATE",
            help="Jinja source, or chatml, instead of the model's own chat template",
        ),
        Value(
            names=("--chat-template-file",),
            target="chat_template",
            metavar="JINJA_TEMPLATE_FILE",
            parse=text_file,
            env="LLAMA_ARG_CHAT_TEMPLATE_FILE",
            help="file with that source",
        ),
    ),
}
FLAGS: tuple[Flag, ...] = tuple(flag for group in GROUPS.values() for flag in group)
BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in flag.all_names}

ADDS_UP = ("loras", "logit_bias", "dry_sequence_breakers")
"""Targets whose flags may be given several times."""

Setting = tuple[Flag, object]
"""A flag that was given, and its value."""


# --- parsing


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> ServerConfig:
    """Read the command line (without the program's name) and the environment, over which it wins.

    Raises UsageError for a wrong flag or value, StartupError for a file that cannot be used, and Show.
    """
    given = list(_read_argv(argv))
    flags_given = {flag for flag, _ in given}
    settings = [setting for setting in _read_environ(environ, skip=flags_given)] + given
    return _configure(settings)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names of LLAMA_ARG_* variables that are set but mean nothing here."""
    known = {flag.env for flag in FLAGS} | {flag.env_off for flag in FLAGS if isinstance(flag, Switch)}
    return sorted(name for name in environ if name.startswith("LLAMA_ARG_") and name not in known)


def _read_argv(argv: Sequence[str]) -> Iterator[Setting]:
    words = iter(argv)
    for word in words:
        name, value = _split(word)
        flag = BY_NAME.get(name)
        if flag is None:
            raise UsageError(_unknown(name))
        if value is not None and not isinstance(flag, Value):
            raise UsageError(f"{name} takes no value")
        match flag:
            case Value():
                value = next(words, None) if value is None else value
                if value is None:
                    raise UsageError(f"{name} needs a value: {name} {flag.metavar}")
                yield flag, _checked(flag.parse, name, value)
            case Switch():
                yield flag, name in flag.names
            case Constant(target="show", value=what):
                raise Show(what)
            case Constant(value=constant):
                yield flag, constant


def _split(word: str) -> tuple[str, str | None]:
    """Name and attached value of `--name=value`; as in llama-server, long names may have `_` for `-`."""
    if not word.startswith("--"):
        return word, None
    name, equals, value = word.partition("=")
    return name.replace("_", "-"), value if equals else None


def _unknown(name: str) -> str:
    if not name.startswith("-"):
        return f"unexpected argument {name!r}: everything is set with flags; a model is named with -m"
    # to two or three letters every other flag is near
    long_names = [known for known in BY_NAME if known.startswith("--")]
    close = difflib.get_close_matches(name, long_names, n=1) if name.startswith("--") else []
    hint = (
        f"did you mean {close[0]}?"
        if close
        else "--help lists all that there are, which is not all of llama-server's yet"
    )
    return f"unknown flag {name}; {hint}"


def _read_environ(environ: Mapping[str, str], skip: set[Flag]) -> Iterator[Setting]:
    for flag in FLAGS:
        if flag in skip or not flag.env:
            continue
        if isinstance(flag, Switch) and flag.env_off in environ:
            yield flag, False
            continue
        value = environ.get(flag.env, "")
        if not value:
            continue  # an empty variable counts as unset: compose files produce them
        match flag:
            case Value():
                yield flag, _checked(flag.parse, flag.env, value)
            case Switch():
                yield flag, _checked(boolean, flag.env, value)
            case Constant() if _checked(boolean, flag.env, value):
                yield flag, flag.value


def _checked(parse: Callable[[str], object], name: str, value: str) -> object:
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    except StartupError as error:
        raise StartupError(f"{name}: {error}") from None


def _configure(settings: Sequence[Setting]) -> ServerConfig:
    """Apply settings in order: the last one wins, except that API keys and what `ADDS_UP` names add up."""
    parts: dict[str, dict[str, Any]] = {"": {}, "engine": {}, "log": {}, "sampling": {}}
    for flag, value in settings:
        if flag.target == "nothing":
            continue
        part, _, name = flag.target.rpartition(".")
        fields = parts[part]
        match value:
            case frozenset():
                value |= fields.get(name, frozenset())
            case ("",):
                value = ()  # no sequence breakers
            case tuple() if name in ADDS_UP:
                value = fields.get(name, ()) + value
        fields[name] = value
    return ServerConfig(
        engine=EngineConfig(**parts["engine"]),
        log=LogConfig(**parts["log"]),
        sampling=SamplingConfig(**parts["sampling"]),
        **parts[""],
    )


# --- showing


def help_text() -> str:
    """The text of `--help`, grouped as the table is."""
    lines = ["usage: llamahttp [flags]", "", "Serves a GGUF model over HTTP, as llama-server does."]
    for group, flags in GROUPS.items():
        lines += ["", f"{group} flags:", ""]
        for flag in flags:
            lines += _help_lines(flag)
    lines += ["", "Every flag with a variable (env) can be set by it; the command line wins.", ""]
    return "\n".join(lines)


def _help_lines(flag: Flag, indent: int = 34, width: int = 110) -> list[str]:
    usage = _usage(flag)
    text = _described(flag) + (f" (env: {flag.env})" if flag.env else "")
    lines = _wrapped(text, width - indent)
    if len(usage) + 2 > indent:
        return [usage] + [" " * indent + line for line in lines]
    return [usage.ljust(indent) + lines[0]] + [" " * indent + line for line in lines[1:]]


def _usage(flag: Flag) -> str:
    metavar = f" {flag.metavar}" if isinstance(flag, Value) else ""
    return ", ".join(flag.all_names) + metavar


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def _described(flag: Flag) -> str:
    part, _, name = flag.target.rpartition(".")
    if "{" not in flag.help:
        return flag.help
    default = getattr(getattr(ServerConfig(), part) if part else ServerConfig(), name)
    shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
    return flag.help.format(shown)


def markdown_table() -> str:
    """The table of flags as the README shows it."""
    rows = ["| flag | variable | meaning |", "|---|---|---|"]
    for flag in FLAGS:
        cells = [f"`{_usage(flag)}`", f"`{flag.env}`" if flag.env else "", _described(flag)]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
