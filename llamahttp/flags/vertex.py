"""What Google's Vertex AI tells a container in its environment: where to listen, and by which routes.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..config import ServerConfig
from ..errors import StartupError
from .values import integer


def as_told(config: ServerConfig, environ: Mapping[str, str]) -> ServerConfig:
    """The configuration as Vertex AI wants it, where that runs the server. Raises StartupError."""
    if environ.get("AIP_MODE") != "PREDICTION":
        return config
    port = environ.get("AIP_HTTP_PORT") or "8080"
    try:
        number = integer(0, 65535)(port)
    except ValueError as error:
        raise StartupError(f"AIP_HTTP_PORT: {error}") from None
    http = replace(
        config.http,
        predict_route=_path(environ.get("AIP_PREDICT_ROUTE") or "/predict"),
        health_route=_path(environ.get("AIP_HEALTH_ROUTE") or ""),
    )
    return replace(config, port=number, http=http)


def _path(text: str) -> str:
    return "/" + text.lstrip("/") if text else ""
