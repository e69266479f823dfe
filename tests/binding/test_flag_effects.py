"""Flags that libllama acts on: each leaves a trace that can be seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llamahttp import flags
from llamahttp.binding import devices
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.model import LlamaModel
from llamahttp.config import DEMO_MODEL, ComputeConfig, CpuConfig, EngineConfig
from llamahttp.errors import ModelError, StartupError
from llamahttp.loading import decide_sizes

from .steps import CONFIG, prefill, text

PROCESS = """
import sys
from pathlib import Path
from llamahttp import flags
from llamahttp.loading import Loading
config = flags.parse(sys.argv[1:], {}).engine
opened = Loading(config, None).run()
batch = opened.decoder.batch
batch.tokens[:2], batch.positions[:2], batch.outputs[:2] = (5, 6), (0, 1), (0, 1)
batch.set_sequence(0, 2, 0)
opened.decoder.decode(2)
tasks = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
for name, value in (line.split(":", 1) for task in tasks for line in task.splitlines()):
    if name in ("Cpus_allowed_list", "VmLck"):
        print(name, value.strip())
print("mapped" if config.model.name in Path("/proc/self/maps").read_text() else "copied")
sys.stdout.flush()
opened.decoder.close()
opened.close_model()
"""


def traces(line: str, model: Path) -> list[str]:
    """What can be seen of a process that has decoded two tokens with these flags."""
    command = [sys.executable, "-c", PROCESS, "-m", str(model), "-c", "256", "--cache-ram", "0", *line.split()]
    root = Path(__file__).parent.parent.parent
    environ = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


@contextmanager
def opened(model: LlamaModel, **compute: object) -> Iterator[LlamaDecoder]:
    decoder = LlamaDecoder(model, replace(CONFIG, compute=ComputeConfig(**compute)))  # type: ignore[arg-type]
    try:
        yield decoder
    finally:
        decoder.close()


def load_config(line: str) -> EngineConfig:
    return flags.parse(line.split(), {}).engine


# --- what a context holds and how it computes


def test_a_smaller_type_makes_a_smaller_cache() -> None:
    model = LlamaModel(DEMO_MODEL)  # its heads have room for a block of each type
    sizes = []
    for type_k, type_v in (("f32", "f32"), ("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0")):
        with opened(model, type_k=type_k, type_v=type_v, flash_attn=True) as decoder:
            prefill(decoder, text(64))
            sizes.append(decoder.saved_size(0))
    model.close()
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * 1.7 * sizes[2] > 1.8 * 1.7 * 1.6 * sizes[3]


def test_types_tell_states_apart(llama: LlamaModel) -> None:
    prints = set()
    for compute in ({}, {"type_k": "f32"}, {"rope_freq_scale": 0.5}, {"rope_freq_base": 1234.0}):
        with opened(llama, **compute) as decoder:
            prints.add(decoder.fingerprint)
    assert len(prints) == 4


@pytest.mark.parametrize("compute", [{"rope_freq_scale": 0.25}, {"rope_freq_base": 500.0}])
def test_positions_are_encoded_otherwise(llama: LlamaModel, compute: dict[str, float]) -> None:
    with opened(llama) as plain, opened(llama, **compute) as scaled:
        tokens = text(40)
        assert np.abs(prefill(plain, tokens) - prefill(scaled, tokens)).max() > 0.05


def test_a_quantized_v_needs_flash_attention_and_says_so(llama: LlamaModel) -> None:
    with pytest.raises(ModelError, match="quantized V cache requires"), opened(llama, type_v="q8_0", flash_attn=False):
        pass


def test_what_a_cache_needs_depends_on_its_types() -> None:
    from llamahttp.binding.llama_context import kv_bytes

    metadata = {
        "general.architecture": "x",
        "x.block_count": "2",
        "x.embedding_length": "64",
        "x.attention.head_count": "2",
        "x.attention.head_count_kv": "2",
    }
    full = kv_bytes(metadata, 1024)
    assert kv_bytes(metadata, 1024, ComputeConfig(type_k="f32", type_v="f32")) == 2 * full
    assert kv_bytes(metadata, 1024, ComputeConfig(type_k="q8_0", type_v="q8_0")) == full * 34 // 64


# --- threads


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_threads_run_where_the_mask_says(llama_gguf: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    line = f"-t 2 -tb 2 --cpu-range {cpus[1]}-{cpus[1]} --poll 0"
    allowed = [trace.split()[1] for trace in traces(line, llama_gguf) if trace.startswith("Cpus_allowed_list")]
    assert allowed.count(str(cpus[1])) >= 2  # the thread that decodes, and its helper


def test_prompts_threads_have_what_the_others_have_unless_told() -> None:
    from llamahttp.binding.thread_pool import inherited

    cpu = CpuConfig(cpus=frozenset({1}), priority=2)
    assert inherited(CpuConfig(), cpu) == cpu
    assert inherited(CpuConfig(priority=0, poll=9), cpu) == CpuConfig(cpus=frozenset({1}), priority=0, poll=9)


def test_the_pools_outlive_a_rebuild(llama: LlamaModel) -> None:
    cpu = CpuConfig(cpus=frozenset(os.sched_getaffinity(0)), poll=0)
    with opened(llama, cpu=cpu) as decoder, opened(llama) as plain:
        tokens = text(20)
        before = prefill(decoder, tokens)
        decoder.rebuild()
        np.testing.assert_array_equal(prefill(decoder, tokens), before)
        np.testing.assert_array_equal(prefill(plain, tokens), before)


# --- how a file is read


@pytest.mark.parametrize(("mode", "expected"), [("mmap", "mapped"), ("none", "copied")])
def test_the_file_is_mapped_or_read(llama_gguf: Path, mode: str, expected: str) -> None:
    assert expected in traces(f"--load-mode {mode} --no-repack", llama_gguf)


def test_the_model_is_locked_in_memory(llama_gguf: Path) -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < llama_gguf.stat().st_size:
        pytest.skip("this process may not lock so much memory")
    locked = [int(trace.split()[1]) for trace in traces("--mlock", llama_gguf) if trace.startswith("VmLck")]
    assert max(locked) * 1024 > llama_gguf.stat().st_size // 2


def test_metadata_takes_the_place_of_the_files(llama_gguf: Path) -> None:
    line = "--override-kv tokenizer.ggml.add_bos_token=bool:"
    found = []
    for value in ("true", "false"):
        model = LlamaModel(llama_gguf, load=load_config(line + value).load)
        found.append(model.vocab.adds_bos)
        model.close()
    assert found == [True, False]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--device CUDA7", "--device: there is no device 'CUDA7'; there"),
        ("--device CPU", "--device: there is no device 'CPU'; there"),
        ("-ot blk=CUDA7", "--override-tensor: there is no buffer type 'CUDA7'; there are CPU"),
        ("-ts " + ",".join(["1"] * 17), "--tensor-split: 17 shares are more than the 16 devices that there may be"),
    ],
)
def test_what_does_not_exist_is_named(llama_gguf: Path, line: str, message: str) -> None:
    with pytest.raises(StartupError, match=f"^{message}"):
        LlamaModel(llama_gguf, load=load_config(line).load)


def test_a_pattern_that_is_none_is_an_error(llama_gguf: Path) -> None:
    with pytest.raises(ModelError, match="regular expression"):
        LlamaModel(llama_gguf, load=load_config("-ot [=CPU").load)


def test_flags_reach_the_sizes() -> None:
    _, sizes = decide_sizes(load_config("-ctk q8_0 -fa on -nkvo"), 512)
    assert (sizes.compute.type_k, sizes.compute.flash_attn, sizes.compute.kv_offload) == ("q8_0", True, False)


def test_devices_are_listed() -> None:
    assert devices.listed().startswith("Available devices:\n  ")
