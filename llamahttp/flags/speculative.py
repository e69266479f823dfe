"""Speculative decoding, which is not built: what asks for it is refused, its parameters alone ask for nothing."""

from __future__ import annotations

from .compute import CACHE_TYPES
from .row import Flag, ignored, refused
from .values import choice, integer, real

_WHY = "there is no speculative decoding yet"
_ALONE = "there is no speculative decoding yet, which it is a parameter of"


def _parameter(names: str, metavar: str = "N", variable: str = "", off: str = "") -> Flag:
    """A parameter of what has to be asked for with another flag."""
    env = f"LLAMA_ARG_{variable}" if variable else ""
    match metavar:
        case "N" if "ngl" not in names:
            return ignored(names, _ALONE, metavar, env=env, parse=integer(-1))
        case "P":
            return ignored(names, _ALONE, metavar, env=env, parse=real)
        case "TYPE":
            return ignored(names, _ALONE, metavar, env=env, parse=choice(*CACHE_TYPES))
    return ignored(names, _ALONE, metavar, env=env, off=off)


def _removed(names: str, instead: str, variable: str = "") -> Flag:
    env = f"LLAMA_ARG_{variable}" if variable else ""
    return refused(names, f"the argument has been removed; use {instead}", "N", env=env)


def _ngram(kind: str) -> tuple[Flag, ...]:
    return tuple(_parameter(f"--spec-ngram-{kind}-{name}") for name in ("size-n", "size-m", "min-hits"))


SPECULATIVE: tuple[Flag, ...] = (
    refused(
        "--spec-type",
        _WHY,
        "TYPE,...",
        env="LLAMA_ARG_SPEC_TYPE",
        harmless=("none",),
    ),
    refused("--spec-default", _WHY),
    refused("--spec-draft-model -md --model-draft", _WHY, "FNAME", env="LLAMA_ARG_SPEC_DRAFT_MODEL"),
    refused(
        "--spec-draft-hf -hfd -hfrd --hf-repo-draft",
        _WHY,
        "<user>/<model>[:quant]",
        env="LLAMA_ARG_SPEC_DRAFT_HF_REPO",
    ),
    refused("-lcs --lookup-cache-static", _WHY, "FNAME"),
    refused("-lcd --lookup-cache-dynamic", _WHY, "FNAME"),
    refused("--spec-synth-len", _WHY, "L", env="LLAMA_ARG_SPEC_SYNTH_LEN"),
    refused("--spec-synth-rates", _WHY, "P0,P1,...", env="LLAMA_ARG_SPEC_SYNTH_RATES"),
    _parameter("--spec-draft-threads -td --threads-draft"),
    _parameter("--spec-draft-threads-batch -tbd --threads-batch-draft"),
    _parameter("--spec-draft-cpu-mask -Cd --cpu-mask-draft", "M"),
    _parameter("--spec-draft-cpu-range -Crd --cpu-range-draft", "lo-hi"),
    _parameter("--spec-draft-cpu-strict --cpu-strict-draft", "<0|1>"),
    _parameter("--spec-draft-prio --prio-draft"),
    _parameter("--spec-draft-poll --poll-draft", "<0|1>"),
    _parameter("--spec-draft-cpu-mask-batch -Cbd --cpu-mask-batch-draft", "M"),
    _parameter("--spec-draft-cpu-strict-batch --cpu-strict-batch-draft", "<0|1>"),
    _parameter("--spec-draft-prio-batch --prio-batch-draft"),
    _parameter("--spec-draft-poll-batch --poll-batch-draft", "<0|1>"),
    _parameter("--spec-draft-type-k -ctkd --cache-type-k-draft", "TYPE", "SPEC_DRAFT_CACHE_TYPE_K"),
    _parameter("--spec-draft-type-v -ctvd --cache-type-v-draft", "TYPE", "SPEC_DRAFT_CACHE_TYPE_V"),
    _parameter("--spec-draft-override-tensor -otd --override-tensor-draft", "<tensor name pattern>=<buffer type>,..."),
    _parameter("--spec-draft-cpu-moe -cmoed --cpu-moe-draft", "", "SPEC_DRAFT_CPU_MOE"),
    _parameter("--spec-draft-n-cpu-moe --spec-draft-ncmoe -ncmoed --n-cpu-moe-draft", variable="SPEC_DRAFT_N_CPU_MOE"),
    _parameter("--spec-draft-n-max", variable="SPEC_DRAFT_N_MAX"),
    _parameter("--spec-draft-n-min", variable="SPEC_DRAFT_N_MIN"),
    _parameter("--spec-draft-p-split --draft-p-split", "P", "SPEC_DRAFT_P_SPLIT"),
    _parameter("--spec-draft-p-min --draft-p-min", "P", "SPEC_DRAFT_P_MIN"),
    _parameter(
        "--spec-draft-backend-sampling",
        "",
        "SPEC_DRAFT_BACKEND_SAMPLING",
        off="--no-spec-draft-backend-sampling",
    ),
    _parameter("--spec-draft-device -devd --device-draft", "<dev1,dev2,..>"),
    _parameter("--spec-draft-ngl -ngld --gpu-layers-draft --n-gpu-layers-draft", variable="N_GPU_LAYERS_DRAFT"),
    _parameter("--spec-ngram-mod-n-min"),
    _parameter("--spec-ngram-mod-n-max"),
    _parameter("--spec-ngram-mod-n-match"),
    *_ngram("simple"),
    *_ngram("map-k"),
    *_ngram("map-k4v"),
    _removed("--draft --draft-n --draft-max", "--spec-draft-n-max or --spec-ngram-mod-n-max", "DRAFT_MAX"),
    _removed("--draft-min --draft-n-min", "--spec-draft-n-min or --spec-ngram-mod-n-min", "DRAFT_MIN"),
    _removed("--spec-ngram-size-n", "--spec-ngram-*-size-n or --spec-ngram-mod-n-match"),
    _removed("--spec-ngram-size-m", "--spec-ngram-*-size-m"),
    _removed("--spec-ngram-min-hits", "--spec-ngram-*-min-hits"),
)
