"""Slots, what they keep, and who waits for them."""

from __future__ import annotations

from .row import Constant, Flag, Switch, Value, ignored
from .values import cache_ram, directory, integer, n_slots, number


def stop(value: str) -> tuple[str, ...]:
    if not value:
        raise ValueError("the stop string is empty")
    return (value,)


SLOTS: tuple[Flag, ...] = (
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
        help="directory for cached prompts, which outlive the server; made if it is not there (default: none)",
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
        help="least tokens between two checkpoints within one turn, one in a batch at most (default: {})",
    ),
    Value(
        names=("--slot-save-path",),
        target="slot_save_path",
        metavar="PATH",
        parse=directory,
        help="directory for what POST /slots/ID saves and restores; made if it is not there (default: off)",
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
    ignored(
        "-sps --slot-prompt-similarity",
        "prompts share what they have in common, in whichever slot they run",
        "SIMILARITY",
        parse=number(0, 1),
    ),
    ignored(
        "--cache-idle-slots",
        "what is idle is moved to RAM when its place is needed",
        env="LLAMA_ARG_CACHE_IDLE_SLOTS",
        off="--no-cache-idle-slots",
        harmless=("on",),
    ),
    Switch(
        names=("--warmup",),
        off=("--no-warmup",),
        target="engine.warmup",
        help="compute something once before serving (default: {})",
    ),
    Constant(
        names=("--lora-init-without-apply",),
        target="engine.lora_init_without_apply",
        value=True,
        help="load the LoRA adapters and apply none until POST /lora-adapters or a request says so",
    ),
    ignored(
        "-cb --cont-batching",
        "prompts and answers always share batches",
        env="LLAMA_ARG_CONT_BATCHING",
        off="-nocb --no-cont-batching",
        harmless=("on",),
    ),
    Value(
        names=("-r", "--reverse-prompt"),
        target="stop",
        metavar="PROMPT",
        parse=stop,
        help="a stop string of requests that name none; may be given several times",
    ),
    Constant(
        names=("-sp", "--special"),
        target="special",
        value=True,
        help="show special tokens in answers",
    ),
    Constant(
        names=("--spm-infill",),
        target="spm_infill",
        value=True,
        help="put the suffix first in the prompts of /infill, as some models want it",
    ),
    Value(
        names=("--log-prompts-dir",),
        target="log_prompts_dir",
        metavar="PATH",
        parse=directory,
        help="directory for a file with each prompt as the model reads it; made if it is not there (default: none)",
    ),
)
