"""Layers: which module may import which. The table is the architecture; a new file is one new row.

A module may import the modules in the rows above its own, and of the words in `SPECIAL` those that its row names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "llamahttp"

SPECIAL = {
    # packages
    *("aiohttp", "concurrent", "ctypes", "jinja2", "jsonschema", "llguidance", "msgspec", "multiprocessing"),
    *("prometheus_client", "re2", "signal", "socket", "subprocess", "threading", "uvloop"),
    # attributes: other ways to a thread, and the outside world
    *("argv", "call_soon_threadsafe", "environ", "getenv", "run_in_executor", "to_thread"),
}

TABLE: tuple[tuple[str, str], ...] = (
    # module, words of SPECIAL that it may use
    ("version", ""),
    ("errors", ""),
    ("structured", ""),
    ("structured.keywords", ""),
    ("structured.pattern", ""),
    ("structured.place", ""),
    ("structured.number", ""),
    ("structured.unique", ""),
    ("structured.finite", ""),
    ("structured.schema", ""),
    ("structured.answer", ""),
    ("structured.fault", "llguidance"),
    ("samplers", ""),
    ("config", ""),
    ("builtin_templates", ""),
    ("flags.row", ""),
    ("flags.values", ""),
    ("flags.common", ""),
    ("flags.download", ""),
    ("flags.cpu", ""),
    ("flags.compute", ""),
    ("flags.load", ""),
    ("flags.logging", ""),
    ("flags.sampling", ""),
    ("flags.speculative", ""),
    ("flags.http", ""),
    ("flags.slots", ""),
    ("flags.chat", ""),
    ("flags.embeddings", ""),
    ("flags.media", ""),
    ("flags.agents", ""),
    ("flags.presets", ""),
    ("flags.table", ""),
    ("flags.config_file", ""),
    ("flags.vertex", ""),
    ("flags.reading", ""),
    ("flags.showing", ""),
    ("flags.completion", ""),
    ("flags", ""),
    ("log", "environ threading"),  # NO_COLOR and TERM; the writer
    ("listen", "socket"),
    ("tls", ""),
    ("connection", ""),
    ("histogram", ""),
    ("task", ""),
    ("meter", ""),
    ("metrics", "prometheus_client"),
    ("trace", "environ"),  # $LLAMAHTTP_STEP_TRACE
    ("text", ""),
    ("workers", "concurrent run_in_executor"),
    ("tools", ""),
    ("tools.events", ""),
    ("tools.pattern", ""),
    ("tools.json_text", ""),
    ("tools.schema", ""),
    ("tools.notation", ""),
    ("tools.format", ""),
    ("tools.incoming", ""),
    ("tools.voice", ""),
    ("tools.reader", ""),
    ("tools.parser", ""),
    ("tools.rules", ""),
    ("tools.values", ""),
    ("tools.lark", ""),
    ("tools.formats", ""),
    ("tools.detect", ""),
    ("cache", ""),
    ("cache.radix", ""),
    ("cache.snapshot", ""),
    ("cache.lru", ""),
    ("cache.disk", ""),
    ("cache.worker", "threading"),  # reads and writes the disk tier's files
    ("cache.catalog", ""),
    ("cache.store", ""),
    ("cache.sequence", ""),
    ("cache.cells", ""),
    ("pooling", ""),
    ("queue", "threading call_soon_threadsafe"),
    ("abc", ""),
    ("automaton", ""),
    ("characters", ""),
    ("gbnf", ""),
    ("lark", ""),
    ("grammar", "llguidance threading"),  # what all grammars need is made once, whoever comes first
    ("trigger", "re2"),
    ("budget", ""),
    ("constraint", ""),
    ("cache.archive", ""),
    ("cache.chunks", ""),
    ("cache.checkpoints", ""),
    ("cache.resident", ""),
    ("candidates", ""),
    ("draws", ""),
    ("fit", ""),
    ("rerank", ""),
    ("sampling", ""),
    ("activation", ""),
    ("slot", ""),
    ("schedule", ""),
    ("batch", ""),
    ("suspects", ""),
    ("slot_actions", ""),
    ("embedding", ""),
    ("placement", ""),
    ("planner", ""),
    ("context", "threading"),
    ("binding", ""),
    ("binding.structs", "ctypes"),
    ("binding.functions", "ctypes"),
    ("binding.mtmd_functions", "ctypes"),
    ("binding.abi", "ctypes argv"),  # run as a program by build_lib.sh
    ("binding.cpu", ""),
    ("binding.manifest", "environ"),  # $LLAMAHTTP_LIB
    ("binding.portability", "subprocess"),  # the self-test
    ("binding.library_log", "threading"),  # each thread's lines are its own
    ("binding.library", "ctypes environ threading"),  # one load, whoever comes first
    ("binding.devices", "ctypes"),
    ("binding.load_params", "ctypes"),
    ("binding.model", "ctypes"),
    ("binding.gguf_head", "ctypes"),
    ("binding.control_vector", ""),
    ("binding.adapter", "ctypes"),
    ("binding.llama_batch", "ctypes"),
    ("binding.thread_pool", "ctypes"),
    ("binding.llama_context", "ctypes"),
    ("binding.mtmd", ""),
    ("binding.fingerprint", ""),
    ("binding.dry", "ctypes threading"),  # made where requests are prepared, copied on the engine thread
    ("binding.chain", "ctypes"),
    ("binding.device_sampling", "ctypes"),
    ("binding.decoder", "ctypes"),
    ("binding.embedder", "ctypes"),
    ("binding.encoder", ""),
    ("binding.sampler", "concurrent"),  # masks that will be wanted
    ("binding.sampler_factory", "concurrent"),  # the pool that samples slots in parallel
    ("binding.selftest", "argv environ"),  # run as a program by build_lib.sh
    ("loading", ""),
    ("engine", "to_thread"),  # loading, compiling grammars, slot files
    ("sandbox", "jinja2"),
    ("template_caps", ""),
    ("template_messages", ""),
    ("template_probes", ""),
    ("chat_template", "jinja2"),
    ("api.body", "aiohttp msgspec"),
    ("api.field", "msgspec"),
    ("api.parameters", ""),
    ("api.json_schema", "msgspec"),
    ("api.answer_format", ""),
    ("api.schema", ""),
    ("api.defaults", ""),
    ("api.sse", "aiohttp"),
    ("api.sessions", ""),
    ("api.responses", ""),
    ("api.responses.store", ""),
    ("api.control", ""),
    ("api.activity", ""),
    ("api.cors", ""),
    ("api.hosts", ""),
    ("api.files", "aiohttp"),
    ("api.keys", "aiohttp"),
    ("api.state", "aiohttp"),
    ("api.count", "aiohttp"),
    ("api.middleware", "aiohttp"),
    ("api.lora", "aiohttp"),
    ("api.indent", ""),
    ("api.answer", ""),
    ("api.prompt", ""),
    ("api.fragments", ""),
    ("api.resume", "aiohttp"),
    ("api.turns", ""),
    ("api.tool_use", ""),
    ("api.chat", ""),
    ("api.calls", ""),
    ("api.constraints", "to_thread"),  # reading schemas
    ("api.prompt_log", ""),
    ("api.completion", "aiohttp"),
    ("api.chat_request", ""),
    ("api.logprobs", ""),
    ("api.spans", ""),
    ("api.infill", ""),
    ("api.gap", ""),
    ("api.native", "aiohttp"),
    ("api.openai", "aiohttp"),
    ("api.chat_completion", "aiohttp"),
    ("api.anthropic", ""),
    ("api.anthropic.parameters", ""),
    ("api.anthropic.shapes", ""),
    ("api.anthropic.errors", ""),
    ("api.anthropic.blocks", ""),
    ("api.anthropic.translation", ""),
    ("api.anthropic.dialect", ""),
    ("api.anthropic.messages", "aiohttp"),
    ("api.embeddings", "aiohttp msgspec"),
    ("api.rerank", "aiohttp"),
    ("api.slots", "aiohttp"),
    ("api.admin", "aiohttp"),
    ("api.shapes", "msgspec"),
    ("api.completion_shapes", ""),
    ("api.route", "aiohttp"),
    ("api.responses.shapes", ""),
    ("api.responses.parameters", ""),
    ("api.responses.items", ""),
    ("api.responses.custom_input", ""),
    ("api.responses.tools", ""),
    ("api.responses.output", ""),
    ("api.responses.request", "msgspec"),
    ("api.responses.dialect", ""),
    ("api.responses.handlers", "aiohttp"),
    ("api.routes", ""),
    ("api.predict", "aiohttp msgspec"),
    ("api.openapi", ""),
    ("api", "aiohttp"),
    ("terminal", ""),
    ("gguf_names", ""),
    ("transfer", "aiohttp to_thread"),
    ("hub", ""),
    ("download", "aiohttp"),
    ("sleep", ""),
    ("app", "aiohttp"),
    ("serve", "aiohttp signal socket threading uvloop"),  # threads that do not end in time
    ("__main__", "argv environ signal"),
    ("llamahttp", ""),  # what programs of one's own import
)
RANK = {module: rank for rank, (module, _) in enumerate(TABLE)}
ALLOWED = {module: set(words.split()) for module, words in TABLE}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "llamahttp"


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py")) if "_lib" not in path.parts}


def imported(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that `tree` imports; each name of `from x import y` as `x.y`."""
    package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    package = ["llamahttp", *(part for part in package if part != "llamahttp")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def own_module(name: str) -> str | None:
    """The module of ours that an absolute name is, or is a part of; None for foreign names."""
    parts = name.split(".")
    if parts[0] != "llamahttp":
        return None
    for n_parts in (len(parts), len(parts) - 1):
        candidate = ".".join(parts[1:n_parts]) or "llamahttp"
        if candidate in MODULES:
            return candidate
    raise AssertionError(f"{name} is not a module of llamahttp, nor a name in one")


def words_used(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and word for each use of a word of SPECIAL."""
    for line, name in imported(module, tree):
        if own_module(name) is None:
            yield from ((line, word) for word in set(name.split(".")) & SPECIAL)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SPECIAL:
            yield node.lineno, node.attr


def test_every_module_has_a_row() -> None:
    assert sorted(set(MODULES) - set(RANK)) == [], "a new module needs a row in TABLE"


def test_every_row_has_a_module() -> None:
    assert sorted(set(RANK) - set(MODULES)) == [], "a row in TABLE names a module that is gone"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    upward = []
    for line, name in imported(module, tree):
        target = own_module(name)
        if target is not None and target != module and RANK[target] >= RANK[module]:
            upward.append(f"line {line}: {module} imports {target}, which stands above it")
    assert upward == []


@pytest.mark.parametrize("module", MODULES)
def test_special_packages_stay_where_they_belong(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    misplaced = [
        f"line {line}: {module} uses {word}"
        for line, word in words_used(module, tree)
        if word not in ALLOWED.get(module, set())
    ]
    assert misplaced == []


def test_the_table_has_no_spare_permissions() -> None:
    spare = []
    for module in MODULES.keys() & ALLOWED.keys():
        used = {word for _, word in words_used(module, ast.parse(MODULES[module].read_text(encoding="utf-8")))}
        spare += [f"{module}: {word}" for word in ALLOWED[module] - used]
    assert sorted(spare) == []
