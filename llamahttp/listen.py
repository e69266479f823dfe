"""Listen: the sockets that the server accepts connections on, and how they are called.

They are opened before a model is loaded, so that a port in use is noticed at once.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import resource
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from .errors import StartupError

BACKLOG = 1024
"""Connections that the kernel holds while the loop is busy."""


@contextlib.contextmanager
def listening(hosts: str, port: int, *, reuse_port: bool = False) -> Iterator[list[socket.socket]]:
    """Listen on each of the comma-separated addresses; one that ends in `.sock` is the path of a UNIX socket.

    With port 0 the kernel chooses one, the same for all addresses. `reuse_port`: other processes may listen on it too.
    Raises StartupError. Leaving the block closes all sockets and removes the files of UNIX sockets.
    """
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        for host in _split(hosts):
            if host.endswith(".sock"):
                sockets.append(opened.enter_context(_open_unix(host)))
                opened.callback(_remove, host)
                continue
            for sock in _open_host(host, _same_port(sockets, port), reuse_port):
                sockets.append(opened.enter_context(sock))
        yield sockets


def allow_connections() -> None:
    """Let the process have as many connections as the system lets it: the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def urls(sockets: Sequence[socket.socket], scheme: str = "http") -> list[str]:
    """Where a client on this machine finds the server over TCP."""
    return [f"{scheme}://{_authority(sock.getsockname())}" for sock in sockets if sock.family != socket.AF_UNIX]


def paths(sockets: Sequence[socket.socket]) -> list[str]:
    """Where a client on this machine finds the server over UNIX sockets."""
    return [sock.getsockname() for sock in sockets if sock.family == socket.AF_UNIX]


def is_loopback(hosts: str) -> bool:
    """Whether only this machine can reach addresses as `listening` takes them."""
    return all(host.endswith(".sock") or _is_loopback(host) for host in _split(hosts))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _authority(name: Sequence[Any]) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(name[0], f"[{name[0]}]" if ":" in name[0] else name[0])
    return f"{host}:{name[1]}"


def _split(hosts: str) -> list[str]:
    found = [host.strip() for host in hosts.split(",") if host.strip()]
    if not found:
        raise StartupError("--host needs at least one address")
    return found


def _same_port(sockets: Sequence[socket.socket], port: int) -> int:
    chosen = [sock.getsockname()[1] for sock in sockets if sock.family != socket.AF_UNIX]
    return chosen[0] if chosen and not port else port


def _open_host(host: str, port: int, reuse_port: bool) -> list[socket.socket]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise StartupError(f"cannot listen on {host}: there is no such address") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in infos:
        chosen = (address[0], _same_port(sockets, port), *address[2:])
        try:
            sockets.append(_open(family, kind, protocol, chosen, reuse_port))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(infos) > 1:
                continue  # localhost often names ::1 too, on machines without IPv6
            for sock in sockets:
                sock.close()
            raise StartupError(_refusal(host, port, error)) from None
    if not sockets:
        raise StartupError(f"cannot listen on {host}:{port}: none of its addresses belongs to this machine")
    return sockets


def _open(
    family: int, kind: int, protocol: int, address: tuple[object, ...] | str, reuse_port: bool = False
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        if family != socket.AF_UNIX and os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # restart while old connections linger
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _refusal(host: str, port: int, error: OSError) -> str:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: the port is in use; choose another with --port, or --port 0 for any"
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: ports below 1024 need more rights; choose another with --port"
    return f"cannot listen on {where}: {error.strerror}"


def _open_unix(path: str) -> socket.socket:
    if _is_stale(path):
        os.unlink(path)
    try:
        return _open(socket.AF_UNIX, socket.SOCK_STREAM, 0, path)
    except OSError as error:
        raise StartupError(f"cannot listen on {path}: {error.strerror or error}") from None


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _is_stale(path: str) -> bool:
    """Whether a server that was killed left this socket behind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
