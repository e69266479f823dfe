"""Address: where a server listens; the rule that a benchmark stays on this machine."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.errors import BenchError


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def pair(self) -> tuple[str, int]:
        return self.host, self.port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, allow_remote: bool = False) -> Address:
        """From `http://HOST:PORT`. BenchError when it is not that, or not loopback without `allow_remote`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BenchError(f"{url!r} is no URL: {error}") from None
        if parts.scheme != "http" or not parts.hostname:
            raise BenchError(f"{url!r}: expected http://HOST:PORT (no TLS)")
        if parts.path not in ("", "/") or parts.query or parts.username:
            raise BenchError(f"{url!r}: expected http://HOST:PORT and nothing behind it")
        if not allow_remote and not is_loopback(parts.hostname):
            raise BenchError(
                f"{parts.hostname!r} is not a loopback address; load on another machine needs --allow-remote"
            )
        return cls(parts.hostname, port or 80)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name could lead anywhere


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
