"""CORS: pages of which origins may call the server from a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..config import ServerConfig
from ..errors import Forbidden

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
LOCALHOST = "localhost"
"""Among the origins this stands for all of `LOCAL_HOSTS`, with any port."""
ANY = "*"
READING = frozenset({"GET", "HEAD"})
"""Methods that have no effect; a page that may not read the answer gains nothing by them."""


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

    def check(self, method: str, request: Mapping[str, str]) -> None:
        """Raises Forbidden for a request with an effect that comes from a page of another origin.

        Browsers ask before most of them (`preflight`), but not before what a form could send, and bodies count here
        whatever type they have. What they say of themselves is true, since scripts cannot set it:
        https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
        """
        origin = request.get("Origin", "")
        if request.get("Sec-Fetch-Site") == "cross-site" and method not in READING and not self.allows(origin):
            page = f"pages of {origin}" if origin else "pages of other sites"
            raise Forbidden(f"{page} may not call this server; to allow it, start it with --cors-origins")

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
