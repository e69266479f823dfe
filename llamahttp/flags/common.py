"""The model, its context and where it is computed."""

from __future__ import annotations

from .row import Constant, Flag, Value
from .values import adapters, integer, model_file, n_gpu_layers, n_threads, scaled_adapters

COMMON: tuple[Flag, ...] = (
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
)
