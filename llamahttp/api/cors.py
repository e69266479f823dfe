"""CORS: pages of which origins may call the server from a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..config import ServerConfig

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
LOCALHOST = "localhost"
"""Among the origins this stands for all of `LOCAL_HOSTS`, with any port."""
ANY = "*"


@dataclass(frozen=True, slots=True)
class Cors:
    """The rules, and the headers that tell browsers of them."""

    origins: frozenset[str]
    methods: str
    headers: str
    credentials: bool

    @classmethod
    def of(cls, config: ServerConfig) -> Cors:
        """As configured; by default as in llama-server where a key protects the server. Where none does, only pages
        of this machine may read answers: any other that its user visits could use the model, and read what it says."""
        http = config.http
        origins = http.cors_origins if http.cors_origins is not None else ANY if config.api_keys else LOCALHOST
        return cls(
            frozenset(origin.strip() for origin in origins.split(",")),
            http.cors_methods,
            http.cors_headers,
            http.cors_credentials,
        )

    def allows(self, origin: str) -> bool:
        return ANY in self.origins or origin in self.origins or (LOCALHOST in self.origins and is_local(origin))

    def answer(self, origin: str | None) -> dict[str, str]:
        """Headers for any response to a request from a page of `origin`; None for no page, or an old one's."""
        if ANY in self.origins and not self.credentials:
            return {"Access-Control-Allow-Origin": ANY}
        headers = {"Vary": "Origin"}
        if origin is not None and self.allows(origin):
            headers["Access-Control-Allow-Origin"] = origin  # browsers take no `*` with credentials
            if self.credentials:
                headers["Access-Control-Allow-Credentials"] = "true"
        return headers

    def preflight(self, request: Mapping[str, str]) -> dict[str, str]:
        """More headers for the answer to an OPTIONS request with these headers."""
        # by name: browsers do not count Authorization among `*`
        wanted = request.get("Access-Control-Request-Headers", ANY) if self.headers == ANY else self.headers
        return {
            "Access-Control-Allow-Credentials": "true" if self.credentials else "false",
            "Access-Control-Allow-Methods": self.methods,
            "Access-Control-Allow-Headers": wanted,
        }


def is_local(origin: str) -> bool:
    """Whether an origin such as `http://localhost:3000` is this machine's own."""
    try:
        url = urlsplit(origin)
        return url.scheme in ("http", "https") and url.hostname in LOCAL_HOSTS
    except ValueError:
        return False
