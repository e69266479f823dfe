"""Hosts: by what names the server may be called, against pages that rebind a name of theirs to this machine.

A page of `evil.example:8080` whose name is made to mean 127.0.0.1 after it was loaded counts as of the server's own
origin: CORS does not hold it back. Its requests still name `evil.example`, and the port that the server listens on. A
proxy that passes on the name that it is called by (`proxy_set_header Host $host`) names another port, or none.
"""

from __future__ import annotations

import ipaddress
import re

from ..config import ServerConfig
from ..errors import Forbidden
from ..listen import is_loopback

PRIVATE = (".localhost", ".internal", ".local")
"""Ends of names that the public DNS does not have. https://www.iana.org/assignments/special-use-domain-names"""

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d{0,9}))?")
HTTP_PORT = 80


class Hosts:
    """The names. They are checked where nothing else protects the server: no API key, and only this machine reaches
    it. Bound to another address, or with a key, any name will do."""

    def __init__(self, config: ServerConfig) -> None:
        self._allowed = config.http.allowed_hosts
        self._are_checked = not config.api_keys and is_loopback(config.host) and "*" not in self._allowed

    def check(self, host: str | None, port: int) -> None:
        """Raises Forbidden for the `Host` header of a request to `port` that may come from such a page."""
        if not self._are_checked or host is None:
            return
        name, named_port = split(host)
        if named_port == port and is_public(name) and name not in self._allowed:
            raise Forbidden(
                f"this server answers to local names only, and the Host header says {host!r}: a page on the web could "
                f"have made that name mean this machine. To allow it, start the server with --allowed-hosts {name}, "
                "or with --api-key"
            )


def split(host: str) -> tuple[str, int]:
    """The name in a `Host` header, in lower case, and the port."""
    match = _HOST.fullmatch(host)
    name, port = (host, "") if match is None else match.groups("")
    return name.rstrip(".").lower(), int(port or HTTP_PORT)


def is_public(name: str) -> bool:
    """Whether the public DNS may have the name: it is neither an address, nor without a dot, nor of a private end."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." in name and not name.endswith(PRIVATE)
    return False
