"""Tools that the server itself would run, several models in one server: neither is built."""

from __future__ import annotations

from .row import Flag, ignored, refused
from .values import integer

_TOOLS = "this server runs no tools itself; a client gets the model's calls and runs them"
_ROUTER = "one server serves one model"

AGENTS: tuple[Flag, ...] = (
    refused(
        "--ui-mcp-proxy --webui-mcp-proxy",
        "this server is no proxy for MCP servers",
        env="LLAMA_ARG_UI_MCP_PROXY",
        off="--no-ui-mcp-proxy --no-webui-mcp-proxy",
        harmless=("off",),
    ),
    refused("--tools", _TOOLS, "TOOL1,TOOL2,...", env="LLAMA_ARG_TOOLS"),
    refused("--tools-runtime", _TOOLS, "OPTION", env="LLAMA_ARG_TOOLS_RUNTIME"),
    refused("--mcp-servers-config", _TOOLS, "PATH", env="LLAMA_ARG_MCP_SERVERS_CONFIG"),
    refused("--mcp-servers-json", _TOOLS, "JSON", env="LLAMA_ARG_MCP_SERVERS_JSON"),
    refused("-ag --agent", _TOOLS, env="LLAMA_ARG_AGENT", off="-no-ag --no-agent", harmless=("off",)),
    refused("--models-dir", _ROUTER, "PATH", env="LLAMA_ARG_MODELS_DIR"),
    refused("--models-preset", _ROUTER, "PATH", env="LLAMA_ARG_MODELS_PRESET"),
    ignored("--models-max", _ROUTER, "N", env="LLAMA_ARG_MODELS_MAX", parse=integer(0)),
    ignored(
        "--models-autoload",
        _ROUTER,
        env="LLAMA_ARG_MODELS_AUTOLOAD",
        off="--no-models-autoload",
    ),
)
