"""How a model's file is read, and where its weights go."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable

from .row import Constant, Flag, Switch, Value, refused
from .values import FLOAT32_MAX, INT_MAX, choice, integer, n_gpu_layers, names, number, on_off

KEY_MAX = TEXT_MAX = 127
"""Bytes of llama_model_kv_override.key and .val_str, without the NUL."""

EXPERTS = r"\.ffn_(?:up|down|gate|gate_up)_(?:ch|)exps"
DENSE = r"\.ffn_(?:up|down|gate)\."
"""Names of the tensors of a layer's experts, and of its feed-forward part where there are none."""


def device_names(value: str) -> tuple[str, ...]:
    """`none` is nothing: the CPU alone."""
    found = names(value)
    if not found:
        raise ValueError("there is no device in it")
    return () if found == ("none",) else found


def proportions(value: str) -> tuple[float, ...]:
    """Numbers separated by commas or slashes."""
    shares = tuple(number(0, FLOAT32_MAX)(share) for share in re.split("[,/]+", value))
    if not any(shares):
        raise ValueError("all shares are 0")
    return shares


def mebibytes(value: str) -> tuple[int, ...]:
    """Sizes separated by commas or slashes."""
    return tuple(integer(0, INT_MAX)(size) for size in re.split("[,/]+", value))


def tensor_buffers(value: str) -> tuple[tuple[str, str], ...]:
    """Comma-separated `REGEX=BUFFER`."""
    found = []
    for entry in value.split(","):
        pattern, equals, buffer = entry.partition("=")
        if not equals or not pattern or not buffer:
            raise ValueError(f"{entry!r} is not PATTERN=BUFFER")
        found.append((pattern, buffer))
    return tuple(found)


def first_layers(tensors: str) -> Callable[[str], object]:
    """A parser of a number of layers whose `tensors` stay with the CPU."""

    def parse(value: str) -> tuple[tuple[str, str], ...]:
        return tuple((rf"blk\.{i}{tensors}", "CPU") for i in range(integer(0, 4096)(value)))

    return parse


def metadata(value: str) -> tuple[tuple[str, int | float | bool | str], ...]:
    """Comma-separated `KEY=TYPE:VALUE`; an entry with a comma stands in double quotes."""
    return tuple(_entry(entry) for row in csv.reader([value]) for entry in row)


def _entry(entry: str) -> tuple[str, int | float | bool | str]:
    key, _, typed = entry.partition("=")
    kind, colon, text = typed.partition(":")
    if not key or not colon:
        raise ValueError(f"{entry!r} is not KEY=TYPE:VALUE")
    if len(key.encode()) > KEY_MAX:
        raise ValueError(f"the key {key!r} is longer than {KEY_MAX} bytes")
    match kind:
        case "int":
            return key, integer(-(2**63), 2**63 - 1)(text)
        case "float":
            return key, number(-1.7e308)(text)
        case "bool" if text in ("true", "false"):
            return key, text == "true"
        case "bool":
            raise ValueError(f"{text!r} is neither true nor false")
        case "str" if len(text.encode()) > TEXT_MAX:
            raise ValueError(f"the text of {key!r} is longer than {TEXT_MAX} bytes")
        case "str":
            return key, text
    raise ValueError(f"{kind!r} is not one of int, float, bool, str")


def _load_mode(flags: str, mode: str, help: str, env: str = "") -> Constant:
    """A shortcut that older versions of llama-server take, and many scripts still give."""
    return Constant(names=tuple(flags.split()), target="engine.load.mode", value=mode, env=env, help=help)


LOAD: tuple[Flag, ...] = (
    Switch(
        names=("--repack",),
        off=("-nr", "--no-repack"),
        target="engine.load.repack",
        env="LLAMA_ARG_REPACK",
        help="rearrange weights so that the CPU computes with them faster (default: {})",
    ),
    Constant(
        names=("--no-host",),
        target="engine.load.no_host",
        value=True,
        env="LLAMA_ARG_NO_HOST",
        help="bypass the devices' host buffers",
    ),
    refused("--rpc", "this build of libllama cannot compute on other machines", "SERVERS", env="LLAMA_ARG_RPC"),
    Value(
        names=("-lm", "--load-mode"),
        target="engine.load.mode",
        metavar="MODE",
        parse=choice("auto", "none", "mmap", "mlock", "mmap+mlock", "dio"),
        env="LLAMA_ARG_LOAD_MODE",
        help="how the file is read: auto, none, mmap, mlock (keep it in RAM), mmap+mlock, dio (direct) (default: {})",
    ),
    _load_mode("--mlock", "mlock", "short for --load-mode mlock", "LLAMA_ARG_MLOCK"),
    _load_mode("--mmap", "mmap", "short for --load-mode mmap"),
    _load_mode("--no-mmap", "none", "short for --load-mode none", "LLAMA_ARG_NO_MMAP"),
    _load_mode("-dio --direct-io", "dio", "short for --load-mode dio", "LLAMA_ARG_DIO"),
    Value(
        names=("-lzm", "--lazy-mode"),
        target="engine.load.lazy",
        metavar="MODE",
        parse=choice("on", "auto", "off"),
        env="LLAMA_ARG_LAZY_MODE",
        help="read certain tensors' rows from disk on demand: on, off, or auto = those above 4 GiB (default: {})",
    ),
    Value(
        names=("--numa",),
        target="engine.load.numa",
        metavar="TYPE",
        parse=choice("distribute", "isolate", "numactl"),
        env="LLAMA_ARG_NUMA",
        help="placement on machines with several memory nodes: distribute, isolate or numactl (default: none)",
    ),
    Value(
        names=("-dev", "--device"),
        target="engine.load.devices",
        metavar="<dev1,dev2,..>",
        parse=device_names,
        env="LLAMA_ARG_DEVICE",
        help="devices for the model's layers, of those that --list-devices names; none = the CPU (default: all)",
    ),
    Constant(names=("--list-devices",), target="show", value="devices", help="print the devices and exit"),
    Value(
        names=("-ot", "--override-tensor"),
        target="engine.load.tensor_buffers",
        metavar="<tensor name pattern>=<buffer type>,...",
        parse=tensor_buffers,
        env="LLAMA_ARG_OVERRIDE_TENSOR",
        help="where tensors go whose names match a regular expression",
    ),
    Constant(
        names=("-cmoe", "--cpu-moe"),
        target="engine.load.tensor_buffers",
        value=((EXPERTS, "CPU"),),
        env="LLAMA_ARG_CPU_MOE",
        help="keep the experts' weights with the CPU",
    ),
    Value(
        names=("-ncmoe", "--n-cpu-moe"),
        target="engine.load.tensor_buffers",
        metavar="N",
        parse=first_layers(EXPERTS),
        env="LLAMA_ARG_N_CPU_MOE",
        help="keep those of the first N layers with the CPU",
    ),
    Value(
        names=("-ncffn", "--n-cpu-ffn"),
        target="engine.load.tensor_buffers",
        metavar="N",
        parse=first_layers(DENSE),
        env="LLAMA_ARG_N_CPU_FFN",
        help="keep the feed-forward weights of the first N layers with the CPU, in models without experts",
    ),
    Value(
        names=("-ngl", "--gpu-layers", "--n-gpu-layers"),
        target="engine.n_gpu_layers",
        metavar="N",
        parse=n_gpu_layers,
        env="LLAMA_ARG_N_GPU_LAYERS",
        help="layers on the GPU: a number, auto or all (default: auto)",
    ),
    Value(
        names=("-sm", "--split-mode"),
        target="engine.load.split_mode",
        metavar="{none,layer,row,tensor}",
        parse=choice("none", "layer", "row", "tensor"),
        env="LLAMA_ARG_SPLIT_MODE",
        help="how several devices share the model (default: {})",
    ),
    Value(
        names=("-ts", "--tensor-split"),
        target="engine.load.tensor_split",
        metavar="N0,N1,N2,...",
        parse=proportions,
        env="LLAMA_ARG_TENSOR_SPLIT",
        help="the devices' shares of the model, such as 3,1",
    ),
    Value(
        names=("-mg", "--main-gpu"),
        target="engine.load.main_gpu",
        metavar="INDEX",
        parse=integer(0),
        env="LLAMA_ARG_MAIN_GPU",
        help="the device of a model that is not split (default: {})",
    ),
    Value(
        names=("-fit", "--fit"),
        target="engine.fit.is_on",
        metavar="[on|off]",
        parse=on_off,
        env="LLAMA_ARG_FIT",
        help="without -c make the context no larger than memory has room for (default: on); -ngl is never made less",
    ),
    Value(
        names=("-fitt", "--fit-target"),
        target="engine.fit.target",
        metavar="MiB0,MiB1,MiB2,...",
        parse=mebibytes,
        env="LLAMA_ARG_FIT_TARGET",
        help="MiB that --fit leaves free on each device, or on all (default: 1024)",
    ),
    Value(
        names=("-fitc", "--fit-ctx"),
        target="engine.fit.n_ctx",
        metavar="N",
        parse=integer(0, INT_MAX),
        env="LLAMA_ARG_FIT_CTX",
        help="tokens of context that --fit leaves each slot at any rate (default: {})",
    ),
    Constant(
        names=("--check-tensors",),
        target="engine.load.check_tensors",
        value=True,
        help="look for values in the model that are not numbers",
    ),
    Value(
        names=("--override-kv",),
        target="engine.load.overrides",
        metavar="KEY=TYPE:VALUE,...",
        parse=metadata,
        help="metadata in place of the file's; types are int, float, bool and str",
    ),
)
