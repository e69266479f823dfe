"""Sampling parameters of requests that set none."""

from __future__ import annotations

from collections.abc import Callable

from .. import samplers
from .row import Constant, Flag, Value
from .values import (
    FLOAT32_MAX,
    INT_MAX,
    integer,
    json_schema,
    json_schema_file,
    logit_bias,
    number,
    real,
    repeat_penalty,
    sampler_names,
    seed,
    sequence_breaker,
    temperature,
    text_file,
)


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
    _sampling("--grammar", "grammar", str, "GBNF grammar that answers obey", metavar="GRAMMAR"),
    _sampling("--grammar-file", "grammar", text_file, "file with that grammar", metavar="FNAME"),
    Constant(
        names=("-bs", "--backend-sampling"),
        target="engine.backend_sampling",
        value=True,
        env="LLAMA_ARG_BACKEND_SAMPLING",
        help="sample on the device that computes the model, where a request's samplers allow it",
    ),
    _sampling(
        "-j --json-schema", "json_schema", json_schema, "JSON Schema that answers are valid for", metavar="SCHEMA"
    ),
    _sampling("-jf --json-schema-file", "json_schema", json_schema_file, "file with that schema", metavar="FILE"),
)
"""Defaults of requests; what is not given is the model's own (`general.sampling.*` in its file), else as said here."""
