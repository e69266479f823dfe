"""Flags: what llama-server's command lines and variables mean here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from llamahttp import flags
from llamahttp.config import DEMO_MODEL, EngineConfig, Pooling, ServerConfig
from llamahttp.errors import StartupError
from llamahttp.flags import FLAGS, Effective, Preset, Show, UsageError, parse


def read(line: str = "", **environ: str) -> ServerConfig:
    return parse(line.split(), environ)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "llama-8b.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_nothing_given_serves_the_demo_with_llama_servers_defaults() -> None:
    config = read()
    assert config == ServerConfig()
    assert config.engine.model == DEMO_MODEL
    assert (config.host, config.port, config.engine.n_batch, config.engine.n_ubatch) == (
        "127.0.0.1",
        8080,
        2048,
        512,
    )


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("", ("demo.gguf",)),
        ("-m ./{name}", ("./{name}",)),
        ("-m {name} -a b,a", ("a", "b")),
        ("-m {name} -a ,", ("{name}",)),
        ("-hf user/repo:Q8_0", ("user/repo:Q8_0",)),
        ("-hf user/repo -m {name}", ("user/repo",)),
    ],
)
def test_clients_see_the_model_under_the_name_that_it_was_given_by(
    model: Path, monkeypatch: pytest.MonkeyPatch, line: str, names: tuple[str, ...]
) -> None:
    monkeypatch.chdir(model.parent)
    assert read(line.format(name=model.name)).aliases == tuple(name.format(name=model.name) for name in names)


def test_a_start_script_of_llama_server_is_understood(model: Path) -> None:
    config = read(
        f"-m {model} -c 4096 -n 128 -t 4 -tb 8 -b 1024 -ub 256 -np 8 -ngl 99 -a small --host 0.0.0.0 --port 9000 "
        "--api-key k1,k2 --no-warmup -no-kvu --log-file x.log --log-colors off -lv 4 --no-log-prefix --log-timestamps"
    )
    assert config.engine == EngineConfig(
        model=model,
        n_ctx=4096,
        n_parallel=8,
        kv_unified=False,
        n_batch=1024,
        n_ubatch=256,
        n_threads=4,
        n_threads_batch=8,
        n_gpu_layers=99,
        warmup=False,
    )
    assert (config.alias, config.host, config.port, config.n_predict) == ("small", "0.0.0.0", 9000, 128)
    assert config.api_keys == {"k1", "k2"}
    log = config.log
    assert (log.file, log.colors, log.verbosity, log.prefix, log.timestamps) == (
        Path("x.log"),
        False,
        4,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("line", "target", "value"),
    [
        ("--ctx-size 7", "engine.n_ctx", 7),
        ("--ctx_size 7", "engine.n_ctx", 7),
        ("--ctx-size=7", "engine.n_ctx", 7),
        ("--predict 7", "n_predict", 7),
        ("--n-predict 7", "n_predict", 7),
        ("--threads 0", "engine.n_threads", -1),
        ("--parallel -1", "engine.n_parallel", -1),
        ("--gpu-layers auto", "engine.n_gpu_layers", -1),
        ("--n-gpu-layers all", "engine.n_gpu_layers", -2),
        ("--kv-unified", "engine.kv_unified", True),
        ("-kvu -no-kvu", "engine.kv_unified", False),
        ("--no-warmup --warmup", "engine.warmup", True),
        ("--temp -1", "sampling.temperature", 0.0),
        ("--temperature 0.5", "sampling.temperature", 0.5),
        ("--top-k -1", "sampling.top_k", -1),
        ("--top-nsigma 1", "sampling.top_n_sigma", 1.0),
        ("--typical 0.5", "sampling.typical_p", 0.5),
        ("-s -1", "sampling.seed", 2**32 - 1),
        ("--seed 5", "sampling.seed", 5),
        ("--samplers top-k;temp", "sampling.samplers", ("top_k", "temperature")),
        ("--samplers top-k --samplers temp", "sampling.samplers", ("temperature",)),
        ("--sampling-seq kt", "sampling.samplers", ("top_k", "temperature")),
        ("--mirostat-lr 0.2 --mirostat 2", "sampling.mirostat_eta", 0.2),
        ("--dynatemp-exp 2", "sampling.dynatemp_exponent", 2.0),
        ("-l 7+1.5 --logit-bias 8-inf", "sampling.logit_bias", ((7, 1.5), (8, -float("inf")))),
        (
            "--dry-sequence-breaker a --dry-sequence-breaker \\n\\x41\\q",
            "sampling.dry_sequence_breakers",
            ("a", "\nA\\q"),
        ),
        ("--dry-sequence-breaker a --dry-sequence-breaker none", "sampling.dry_sequence_breakers", ()),
        ("--ignore-eos", "sampling.ignore_eos", True),
        ("--port 0", "port", 0),
        ("--port 1 --port 2", "port", 2),
        ("--queue-size 9", "engine.queue_size", 9),
        ("-a b,a", "alias", "a,b"),
        ("-v", "log.verbosity", flags.INT_MAX),
        ("-v -lv 1", "log.verbosity", 1),
        ("--log-disable", "log.disable", True),
        ("--log-jsonl", "log.jsonl", True),
        ("--log-colors auto", "log.colors", None),
        ("--log-colors enabled", "log.colors", True),
        ("--chat-template chatml", "chat_template", "chatml"),
        ("--keep -1", "n_keep", -1),
        ("--swa-full", "engine.swa_full", True),
        ("-c 0", "engine.n_ctx", 0),
        ("--fit off", "engine.fit.is_on", False),
        ("--fit-target 512,0", "engine.fit.target", (512, 0)),
        ("--fit-ctx 512", "engine.fit.n_ctx", 512),
        ("--kv-unified-per-slot 4096", "engine.n_ctx_slot", 4096),
        ("--context-shift", "engine.context_shift", True),
        ("--context-shift --no-context-shift", "engine.context_shift", False),
        ("--no-cache-prompt", "cache_prompt", False),
        ("--cache-reuse 256", "n_cache_reuse", 256),
        ("-cram 100", "engine.cache_ram", 100),
        ("--cache-ram -1", "engine.cache_ram", -1),
        ("--cache-ram 9 --cache-ram auto", "engine.cache_ram", -2),
        ("--cache-disk-size 7", "engine.cache_disk_size", 7),
        ("--cache-salt-by-key", "salt_by_key", True),
        ("-ctxcp 0", "engine.n_checkpoints", 0),
        ("--ctx-checkpoints 3", "engine.n_checkpoints", 3),
        ("--swa-checkpoints 3", "engine.n_checkpoints", 3),
        ("-cms 0", "engine.checkpoint_min_step", 0),
        ("--checkpoint-min-step 5", "engine.checkpoint_min_step", 5),
        ("--target-step-ms 12.5", "engine.target_step_ms", 12.5),
        ("--embedding", "engine.embeddings", True),
        ("--embeddings", "engine.embeddings", True),
        ("--rerank", "engine.reranking", True),
        ("--reranking", "engine.reranking", True),
        ("--pooling last", "engine.pooling", Pooling.LAST),
        ("--embd-normalize -1", "embd_normalize", -1),
        ("--queue-timeout 0.5", "engine.queue_timeout", 0.5),
        ("--slots --no-slots", "slots", False),
        ("--metrics", "metrics", True),
        ("--chat-template {{messages}}", "chat_template", "{{messages}}"),
        ("-C 0x5 -Cr 8-9", "engine.compute.cpu.cpus", {0, 2, 8, 9}),
        ("-Crb -1", "engine.compute.cpu_batch.cpus", {0, 1}),
        ("--cpu-strict 1", "engine.compute.cpu.is_strict", True),
        ("--prio -1", "engine.compute.cpu.priority", -1),
        ("--poll-batch 0", "engine.compute.cpu_batch.poll", 0),
        ("-fa 1", "engine.compute.flash_attn", True),
        ("-ctk q8_0", "engine.compute.type_k", "q8_0"),
        ("-nkvo", "engine.compute.kv_offload", False),
        ("--rope-scale 4", "engine.compute.rope_freq_scale", 0.25),
        ("--yarn-orig-ctx 4096", "engine.compute.yarn_orig_ctx", 4096),
        ("--mlock", "engine.load.mode", "mlock"),
        ("--no-mmap", "engine.load.mode", "none"),
        ("-lm mmap+mlock", "engine.load.mode", "mmap+mlock"),
        ("-dev none", "engine.load.devices", ()),
        ("-dev CUDA0,CUDA1", "engine.load.devices", ("CUDA0", "CUDA1")),
        ("-ts 3/1,0", "engine.load.tensor_split", (3.0, 1.0, 0.0)),
        ("-ot a=CPU,b=CUDA0 -ot c=CPU", "engine.load.tensor_buffers", (("a", "CPU"), ("b", "CUDA0"), ("c", "CPU"))),
        ("-ncffn 1", "engine.load.tensor_buffers", ((r"blk\.0\.ffn_(?:up|down|gate)\.", "CPU"),)),
        ("--override-kv a=int:-1,b=str:x:y", "engine.load.overrides", (("a", -1), ("b", "x:y"))),
        ("--override-kv a=float:.5 --override-kv b=bool:true", "engine.load.overrides", (("a", 0.5), ("b", True))),
        ("--control-vector-layer-range 1 5", "engine.control_vector_layers", (1, 5)),
        ("-hf a/b:Q8_0", "source.repo", "a/b:Q8_0"),
        ("-mu https://x/y.gguf", "source.url", "https://x/y.gguf"),
        ("--offline", "source.is_offline", True),
        ("--no-mmproj", "source.wants_mmproj", False),
        ("--cors-origins localhost", "http.cors_origins", "localhost"),
        ("--no-cors-credentials", "http.cors_credentials", False),
        ("--api-prefix /a", "http.api_prefix", "/a"),
        ("-to 5", "http.timeout", 5),
        ("--grammar root::=1", "sampling.grammar", "root::=1"),
        ("-bs", "engine.backend_sampling", True),
        ("--tags b,,a", "tags", ("b", "a")),
        ("--no-webui", "http.ui", False),
        ('--ui-config {"a":1}', "ui_settings", {"a": 1}),
        ("-r a\\n -r b", "stop", ("a\n", "b")),
        ("-r a\\n --no-escape", "stop", ("a\\n",)),
        ("--dry-sequence-breaker \\n --no-escape", "sampling.dry_sequence_breakers", ("\\n",)),
        ("--reasoning-format none", "reasoning_format", "none"),
        ("--no-reasoning-preserve", "preserve_reasoning", False),
        (
            '--chat-template-kwargs {"a":1} -rea off --reasoning-effort high --reasoning auto',
            "template_kwargs",
            (("a", 1), ("enable_thinking", False), ("reasoning_effort", "high")),
        ),
        ("--gpt-oss-20b-default --port 1", "port", 1),
        ("--top-k 5 --gpt-oss-20b-default", "sampling.top_k", 5),
        ("--gpt-oss-20b-default", "sampling.top_p", 1.0),
        ("--fim-qwen-1.5b-default", "source.file", "qwen2.5-coder-1.5b-q8_0.gguf"),
    ],
)
def test_spellings(line: str, target: str, value: object) -> None:
    assert field(read(line), target) == value


@pytest.mark.parametrize(
    ("line", "environ", "target", "value"),
    [
        ("", {"LLAMA_ARG_PORT": "81"}, "port", 81),
        ("--port 82", {"LLAMA_ARG_PORT": "81"}, "port", 82),
        ("--port 82", {"LLAMA_ARG_PORT": "nonsense"}, "port", 82),
        ("", {"LLAMA_ARG_PORT": ""}, "port", 8080),
        ("", {"LLAMA_ARG_KV_UNIFIED": "enabled"}, "engine.kv_unified", True),
        ("", {"LLAMA_ARG_KV_UNIFIED": "0"}, "engine.kv_unified", False),
        ("", {"LLAMA_ARG_NO_KV_UNIFIED": ""}, "engine.kv_unified", False),
        ("", {"LLAMA_ARG_NO_KV_UNIFIED": "0", "LLAMA_ARG_KV_UNIFIED": "1"}, "engine.kv_unified", False),
        ("-kvu", {"LLAMA_ARG_NO_KV_UNIFIED": "1"}, "engine.kv_unified", True),
        ("-v", {"LLAMA_ARG_LOG_VERBOSITY": "1"}, "log.verbosity", flags.INT_MAX),
        ("", {"LLAMA_API_KEY": "a,b"}, "api_keys", {"a", "b"}),
        ("--api-key c", {"LLAMA_API_KEY": "a,b"}, "api_keys", {"c"}),
        ("", {"LLAMA_ARG_CACHE_RAM": "0"}, "engine.cache_ram", 0),
        ("", {"LLAMA_ARG_NO_CACHE_PROMPT": "1"}, "cache_prompt", False),
        ("", {"LLAMA_ARG_ENDPOINT_METRICS": "1"}, "metrics", True),
        ("", {"LLAMA_ARG_ENDPOINT_METRICS": "off"}, "metrics", False),
        ("", {"LLAMA_ARG_SWA_FULL": ""}, "engine.swa_full", False),
        ("", {"LLAMA_ARG_EMBEDDINGS": "1"}, "engine.embeddings", True),
        ("", {"LLAMA_ARG_RERANKING": "1"}, "engine.reranking", True),
        ("", {"LLAMA_ARG_POOLING": "cls"}, "engine.pooling", Pooling.CLS),
        ("", {"LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT": "12"}, "engine.checkpoint_min_step", 12),
    ],
)
def test_environment(line: str, environ: dict[str, str], target: str, value: object) -> None:
    assert field(read(line, **environ), target) == value


def test_api_keys_from_flag_and_file_add_up(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# ours\nfirst\n\n second \n")
    assert read(f"--api-key third --api-key-file {keys}").api_keys == {"first", "second", "third"}


def test_adapters_add_up_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.gguf", "b.gguf", "c,d.gguf", "e:f.gguf")]
    for path in paths:
        path.write_bytes(b"GGUF")
    a, b, c, e = paths
    words = ["--lora", f'{a},"{c}"', "--lora-scaled", f"{b}:0.5,{e}:-1", "--lora", str(b)]
    assert parse(words, {}).engine.loras == ((a, 1.0), (c, 1.0), (b, 0.5), (e, -1.0), (b, 1.0))


@pytest.mark.parametrize("flag", ["--lora", "--lora-scaled"])
def test_a_missing_adapter_is_named(model: Path, flag: str) -> None:
    missing = model.with_name("llama-8c.gguf")
    scale = ":1" if flag == "--lora-scaled" else ""
    with pytest.raises(StartupError) as caught:
        read(f"{flag} {missing}{scale}")
    assert str(caught.value) == f"{flag}: there is no adapter file {missing}; did you mean {model}?"


def test_a_scale_is_a_finite_number(model: Path) -> None:
    for scale, message in [("x", "'x' is not a number"), ("inf", "inf is not within"), ("1e39", "1e+39 is not within")]:
        with pytest.raises(UsageError, match=re.escape(f"--lora-scaled: {message}")):
            read(f"--lora-scaled {model}:{scale}")


@pytest.mark.parametrize(
    ("flag", "target"), [("--slot-save-path", "slot_save_path"), ("--cache-disk", "engine.cache_disk")]
)
def test_directories_are_made(tmp_path: Path, flag: str, target: str) -> None:
    path = tmp_path / "new" / "folder"
    for _ in range(2):
        assert field(read(f"{flag} {path}"), target) == path
        assert path.is_dir()
    (path / "file").touch()
    with pytest.raises(StartupError, match=f"^{flag}: {path}/file is not a directory"):
        read(f"{flag} {path}/file")
    with pytest.raises(StartupError, match=f"^{flag}: cannot make the directory {path}/file/x: Not a directory"):
        read(f"{flag} {path}/file/x")


def test_flags_without_an_effect_are_taken_and_said() -> None:
    config = read("-sps 0.5 --no-cache-idle-slots --threads-http 4 --no-jinja", LLAMA_ARG_MODELS_MAX="2")
    assert config == ServerConfig()
    assert config.notes == (
        "LLAMA_ARG_MODELS_MAX has no effect: one server serves one model",
        "-sps has no effect: prompts share what they have in common, in whichever slot they run",
        "--no-cache-idle-slots has no effect: what is idle is moved to RAM when its place is needed",
        "--threads-http has no effect: one event loop serves all connections",
        "--no-jinja has no effect: chat templates are always Jinja",
    )


@pytest.mark.parametrize(
    ("line", "environ"),
    [
        ("--jinja --cont-batching --cache-idle-slots --no-perf --threads-http -1 --spec-type none --no-agent", {}),
        ("--sleep-idle-seconds -1 --no-ui-mcp-proxy --fit off", {}),
        ("", {"LLAMA_ARG_JINJA": "1", "LLAMA_ARG_AGENT": "0", "LLAMA_ARG_NO_PERF": "1", "LLAMA_ARG_SPEC_TYPE": "none"}),
    ],
)
def test_what_asks_for_nothing_is_not_worth_a_word(line: str, environ: dict[str, str]) -> None:
    assert read(line, **environ).notes == ()


def test_a_variable_that_asks_for_what_is_not_built_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^LLAMA_ARG_SPEC_TYPE: there is no speculative decoding yet$"):
        read(LLAMA_ARG_SPEC_TYPE="draft-mtp")
    assert read("--spec-type none", LLAMA_ARG_SPEC_TYPE="draft-mtp").notes == ()


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        ("-c 1 --ctx-size 2 -c 3", ("--ctx-size is given 3 times: only the last one counts",)),
        ("-c 1 -c 1 --api-key a --api-key b --logit-bias 1+1 --logit-bias 2+1 --temp 0 --warmup --no-warmup", ()),
    ],
)
def test_a_flag_that_is_overruled_is_named(line: str, notes: tuple[str, ...]) -> None:
    assert read(line).notes == notes


def test_the_command_line_overrules_a_variable_without_a_word() -> None:
    config = read("-c 1", LLAMA_ARG_CTX_SIZE="2")
    assert (config.engine.n_ctx, config.notes) == (1, ())


def test_chat_template_file_is_read(tmp_path: Path) -> None:
    source = tmp_path / "chat.jinja"
    source.write_text("{{ messages[0].content }} é", encoding="utf-8")
    assert read(f"--chat-template-file {source}").chat_template == "{{ messages[0].content }} é"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--prot 80", "unknown flag --prot; did you mean --port?"),
        ("--ctx 80", "unknown flag --ctx; did you mean --ctx-size?"),
        ("--qqq", "unknown flag --qqq; --help lists all that there are"),
        ("-c=512", "unknown flag -c=512; write -c 512"),
        ("-zz x/y", "unknown flag -zz; --help lists all that there are"),
        ("-hf x", "-hf: 'x' is not USER/MODEL or USER/MODEL:QUANT"),
        ("-hf x/y:a/b", "-hf: 'a/b' is no quant, which is a word such as Q4_K_M"),
        ("-mu model.gguf", "-mu: 'model.gguf' is not an http:// or https:// URL of a file"),
        ("-mu https://x/y/..", "-mu: 'https://x/y/..' is not an http:// or https:// URL of a file"),
        ("-mu https://x/y/?z", "-mu: 'https://x/y/?z' is not an http:// or https:// URL of a file"),
        ("-C 0x", "-C: '0x' is not a mask: give hexadecimal digits"),
        ("-C 0", "-C: '0' names no CPU, or one above 511"),
        ("-Cr 3", "-Cr: '3' is not a range: give LOW-HIGH"),
        ("-Cr 3-2", "-Cr: '3-2' is an empty range"),
        ("--prio 4", "--prio: 4 is not within -1..3"),
        ("--prio-batch -1", "--prio-batch: -1 is not within 0..3"),
        ("-ctk q9", "-ctk: 'q9' is not one of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1"),
        ("--rope-scale 0", "--rope-scale: 0 is not within 1e-30..1e+30"),
        ("-ts 0,0", "-ts: all shares are 0"),
        ("-ot x", "-ot: 'x' is not PATTERN=BUFFER"),
        ("-dev ,", "-dev: there is no device in it"),
        ("--override-kv a=int", "--override-kv: 'a=int' is not KEY=TYPE:VALUE"),
        ("--override-kv a=u8:1", "--override-kv: 'u8' is not one of int, float, bool, str"),
        ("--override-kv a=bool:1", "--override-kv: '1' is neither true nor false"),
        (
            "--control-vector-layer-range 1",
            "--control-vector-layer-range needs a value: --control-vector-layer-range START END",
        ),
        ("--control-vector-layer-range 2 1", "--control-vector-layer-range: 2 to 1 is no range"),
        ("--api-prefix llama", "--api-prefix: 'llama' is not a prefix: it begins with a slash and ends without one"),
        ("--chat-template-kwargs []", "--chat-template-kwargs: '[]' is not a JSON object"),
        ("--numa", "--numa needs a value: --numa TYPE"),
        ("--tools all", "--tools: this server runs no tools itself; a client gets the model's calls and runs them"),
        ("--agent", "--agent: this server runs no tools itself; a client gets the model's calls and runs them"),
        ("--spec-type draft-mtp", "--spec-type: there is no speculative decoding yet"),
        ("-md x.gguf", "-md: there is no speculative decoding yet"),
        ("--draft 3", "--draft: the argument has been removed; use --spec-draft-n-max or --spec-ngram-mod-n-max"),
        ("-j [1]", "-j: it is not a JSON Schema, which is an object"),
        ("--models-dir .", "--models-dir: one server serves one model"),
        (
            "model.gguf",
            "unexpected argument 'model.gguf': everything is set with flags; a model is named with -m",
        ),
        ("--port", "--port needs a value: --port PORT"),
        ("--port x", "--port: 'x' is not a whole number"),
        ("--port 65536", "--port: 65536 is not within 0..65535"),
        ("--port -1", "--port: -1 is not within 0..65535"),
        ("-c -5", "-c: -5 is not within 0..2147483647"),
        ("-np 0", "-np: 0 slots cannot serve anything; give 1..256, or -1 for automatic"),
        ("-np 257", "-np: 257 is not within -1..256"),
        ("-ngl some", "-ngl: 'some' is not a number of layers, nor auto, nor all"),
        ("--log-colors pink", "--log-colors: 'pink' is not one of on, off, auto"),
        ("--api-key ,", "--api-key: there is no key in it"),
        ("--warmup=yes", "--warmup takes no value"),
        ("--keep -2", "--keep: -2 is not within -1..2147483647"),
        ("--cache-reuse -1", "--cache-reuse: -1 is not within 0..2147483647"),
        ("-cram -2", "-cram: '-2' is not a number of MiB, nor -1 for no limit, nor 0 for off, nor auto"),
        ("--cache-disk-size 0", "--cache-disk-size: 0 is not within 1..2147483647"),
        ("-ctxcp -1", "-ctxcp: -1 is not within 0..2147483647"),
        ("--target-step-ms 0", "--target-step-ms: 0 is not within 1..inf"),
        ("--target-step-ms soon", "--target-step-ms: 'soon' is not a number"),
        ("--pooling max", "--pooling: 'max' is not one of none, mean, cls, last, rank"),
        ("--embd-normalize -2", "--embd-normalize: -2 is not within -1..1000"),
        ("--queue-timeout inf", "--queue-timeout: inf is not within 0..inf"),
        ("--queue-timeout nan", "--queue-timeout: nan is not within 0..inf"),
        ("-sps 2", "-sps: 2 is not within 0..1"),
        ("--lora ,", "--lora: there is no file name in it"),
        ("--lora-scaled a.gguf", "--lora-scaled: 'a.gguf' has no scale: give FNAME:SCALE"),
    ],
)
def test_a_wrong_line_is_one_clear_message(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line)
    assert str(caught.value) == message


def test_an_unknown_template_name_says_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"'llama9' is no template: give Jinja source or one of bailing, .*, llama3, "):
        read("--chat-template llama9")
    assert read("--chat-template llama2").chat_template == "llama2"


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(UsageError, match="LLAMA_ARG_PORT: 'eighty' is not a whole number"):
        read(LLAMA_ARG_PORT="eighty")
    with pytest.raises(UsageError, match="LLAMA_ARG_KV_UNIFIED: 'maybe' is neither on"):
        read(LLAMA_ARG_KV_UNIFIED="maybe")


def test_a_missing_model_names_the_nearest(model: Path) -> None:
    with pytest.raises(StartupError) as caught:
        read(f"-m {model.with_name('lama-8b.gguf')}")
    assert str(caught.value).startswith(f"-m: there is no model file {model.with_name('lama-8b.gguf')}; did you mean")
    assert not isinstance(caught.value, UsageError)


def test_a_directory_is_no_model(model: Path) -> None:
    with pytest.raises(StartupError, match=r"is a directory, not a GGUF file; it holds llama-8b\.gguf"):
        read(f"-m {model.parent}")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("# nothing but a comment\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\xfd")
    for line, message in [
        (f"--api-key-file {empty}", f"--api-key-file: there is no key in {empty}"),
        (f"--api-key-file {tmp_path / 'no'}", f"--api-key-file: cannot read {tmp_path / 'no'}: No such file"),
        (
            f"--chat-template-file {binary}",
            f"--chat-template-file: cannot read {binary}: it is not UTF-8 text",
        ),
        (f"--chat-template-file {tmp_path}", f"--chat-template-file: cannot read {tmp_path}: Is a directory"),
    ]:
        with pytest.raises(StartupError, match=re.escape(message)):
            read(line)


def test_help_and_version_are_asked_for() -> None:
    for line, what in [("-h", "help"), ("--usage", "help"), ("--port 9 --version", "version")]:
        with pytest.raises(Show, match=what):
            read(line)


def test_help_comes_before_what_is_wrong_elsewhere() -> None:
    with pytest.raises(Show, match="help"):
        read("--help -m no.gguf", LLAMA_ARG_PORT="nonsense")


def test_help_names_every_flag_once_and_every_variable() -> None:
    text = flags.help_text()
    for flag in FLAGS:
        for name in flag.all_names:
            assert len(re.findall(rf"(?<![\w-]){re.escape(name)}(?=[ ,\n])", text.partition("\n\n")[2])) >= 1, name
        assert flag.env in text
    assert max(map(len, text.splitlines())) <= 110
    assert "{}" not in text


def test_the_table_is_consistent() -> None:
    names = [name for flag in FLAGS for name in flag.all_names]
    assert len(names) == len(set(names))
    variables = [flag.env for flag in FLAGS if flag.env]
    assert len(variables) == len(set(variables))
    for flag in FLAGS:
        targets = (
            list(flag.values) if isinstance(flag, Preset) else [flag.target] if isinstance(flag, Effective) else []
        )
        for target in targets:
            if target != "show":
                field(ServerConfig(), target)


def test_variables_without_a_meaning_are_found() -> None:
    environ = {
        "LLAMA_ARG_FLESH_ATTN": "on",
        "LLAMA_ARG_PORT": "1",
        "LLAMA_ARG_NO_KV_UNIFIED": "1",
        "HOME": "/",
    }
    assert flags.unknown_variables(environ) == ["LLAMA_ARG_FLESH_ATTN"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from llamahttp.__main__ import main\n"
        "try: main(['--help'], {})\n"
        "finally: print(sorted({'numpy', 'aiohttp', 'asyncio', 'ctypes'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("usage: llamahttp")
    assert done.stderr == "[]\n"


def field(config: ServerConfig, target: str) -> object:
    value: object = config
    for name in target.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--samplers top_k;top_z", "--samplers: there is no sampler 'top_z'"),
        ("--sampler-seq kz", "--sampler-seq: there is no sampler with the code 'z'"),
        ("--repeat-penalty 0", "--repeat-penalty: repeat-penalty must be finite and greater than 0, but is 0"),
        ("--repeat-last-n -1", "--repeat-last-n: -1 is not within"),
        ("--mirostat 3", "--mirostat: 3 is not within 0..2"),
        ("--temp nan", "--temp: nan is not within"),
        ("-l 5", "-l: '5' is not TOKEN_ID"),
        ("-l 5+inf", "-l: a bias of \\+inf"),
        ("-l 5+x", "-l: 'x' is not a number"),
        ("--seed 4294967296", "--seed: 4294967296 is not within"),
    ],
)
def test_wrong_sampling_defaults_are_refused_at_the_start(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(line)


def test_sampling_that_is_not_given_is_left_to_the_model() -> None:
    assert read().sampling.given == {}
    assert read("--top-k 7", LLAMA_ARG_TEMPERATURE="0.1").sampling.given == {"top_k": 7, "temperature": 0.1}
