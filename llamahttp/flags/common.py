"""The model, its context and where it is computed."""

from __future__ import annotations

from .row import Constant, Flag, Switch, Value
from .values import (
    adapters,
    control_vectors,
    integer,
    layer_range,
    scaled_adapters,
    scaled_control_vectors,
)

COMMON: tuple[Flag, ...] = (
    Constant(names=("-h", "--help", "--usage"), target="show", value="help", help="print this and exit"),
    Constant(names=("--version",), target="show", value="version", help="print the version and exit"),
    *(
        Constant(
            names=(f"--completion-{shell}",),
            target="show",
            value=f"completion-{shell}",
            help=f"print completions of flags for {shell}, to be sourced, and exit",
        )
        for shell in ("bash", "zsh", "fish")
    ),
    Value(
        names=("-c", "--ctx-size"),
        target="engine.n_ctx",
        metavar="N",
        parse=integer(0),
        env="LLAMA_ARG_CTX_SIZE",
        help="tokens of context in all (default: what the model was trained with, as far as it fits; 0 = at any rate)",
    ),
    Value(
        names=("-n", "--predict", "--n-predict"),
        target="n_predict",
        metavar="N",
        parse=integer(-1),
        env="LLAMA_ARG_N_PREDICT",
        help="most tokens to generate where a request does not say (default: {}, -1 = no limit)",
    ),
    Value(
        names=("--keep",),
        target="n_keep",
        metavar="N",
        parse=integer(-1),
        help="prompt tokens that a context shift keeps (default: {}, -1 = all)",
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
    Switch(
        names=("-e", "--escape"),
        off=("--no-escape",),
        target="escape",
        help="read \\n and the like in --dry-sequence-breaker and --reverse-prompt as in C (default: {})",
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
    Value(
        names=("--control-vector",),
        target="engine.control_vectors",
        metavar="FNAME",
        parse=control_vectors,
        help="control vectors to add, comma-separated; may be given several times",
    ),
    Value(
        names=("--control-vector-scaled",),
        target="engine.control_vectors",
        metavar="FNAME:SCALE,...",
        parse=scaled_control_vectors,
        help="control vectors with scales of their own",
    ),
    Value(
        names=("--control-vector-layer-range",),
        target="engine.control_vector_layers",
        metavar="START END",
        n_values=2,
        parse=layer_range,
        help="first and last layer that control vectors are applied to (default: all)",
    ),
)
