"""Keys: who a request comes from, where API keys protect the server."""

from __future__ import annotations

import hmac

from aiohttp import web


def given_key(request: web.Request) -> str:
    """The key of `Authorization: Bearer K` or `X-Api-Key: K`; empty where there is none."""
    given = request.headers.get("Authorization") or request.headers.get("X-Api-Key") or ""
    return given.removeprefix("Bearer ")


def is_known(given: str, keys: frozenset[str]) -> bool:
    """Whether `given` is one of `keys`, in a time that does not tell how much of one it matches."""
    given_bytes, *key_bytes = (text.encode("utf-8", "surrogateescape") for text in (given, *keys))
    return sum([hmac.compare_digest(given_bytes, key) for key in key_bytes]) > 0
