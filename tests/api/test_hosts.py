from __future__ import annotations

from typing import Any

import pytest

from llamahttp.api.hosts import Hosts, is_public
from llamahttp.config import HttpConfig, ServerConfig
from llamahttp.errors import Forbidden

from .conftest import Start

LOCAL = ("localhost", "app.localhost", "127.0.0.1", "[::1]", "192.168.0.7", "nas", "host.docker.internal", "pi.local")


def hosts(allowed: frozenset[str] = frozenset(), **config: Any) -> Hosts:
    return Hosts(ServerConfig(http=HttpConfig(allowed_hosts=allowed), **config))


@pytest.mark.parametrize("name", LOCAL)
def test_local_names_are_answered(name: str) -> None:
    hosts().check(f"{name}:8080", 8080)
    hosts().check(f"{name.upper()}:8080", 8080)
    hosts().check(name, 80)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("evil.example:8080", 8080),
        ("127.0.0.1.evil.example:8080", 8080),
        ("EVIL.example.:8080", 8080),
        ("evil.example:00008080", 8080),
        ("1.2.3.4.5:8080", 8080),
        ("evil.example", 80),
        ("evil.example:", 80),
    ],
)
def test_a_name_of_the_public_dns_with_our_port_is_refused(host: str, port: int) -> None:
    with pytest.raises(Forbidden, match="--allowed-hosts"):
        hosts().check(host, port)


@pytest.mark.parametrize("host", ["chat.example", "chat.example:443", "chat.example:x", "a:b:c"])
def test_a_proxy_passes_on_a_name_with_another_port(host: str) -> None:
    """A page whose name was rebound could not: its port is ours."""
    hosts().check(host, 8080)


def test_old_clients_name_no_host() -> None:
    hosts().check(None, 80)
    hosts().check("", 80)


@pytest.mark.parametrize(
    "config",
    [
        {"api_keys": frozenset({"k"})},
        {"host": "0.0.0.0"},
        {"host": "127.0.0.1,192.168.0.7"},
        {"allowed": frozenset({"chat.example"})},
        {"allowed": frozenset({"*"})},
    ],
    ids=str,
)
def test_the_name_does_not_matter_with_a_key_for_others_and_when_allowed(config: dict[str, Any]) -> None:
    hosts(**config).check("chat.example:8080", 8080)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.1,::1", "/tmp/a.sock,127.8.8.8"])
def test_it_matters_where_only_this_machine_is_served(host: str) -> None:
    with pytest.raises(Forbidden):
        hosts(host=host).check("evil.example:8080", 8080)


def test_public_names() -> None:
    assert is_public("a.example") and is_public("internal.example")
    assert not is_public("::1") and not is_public("a.internal") and not is_public("")


async def test_a_page_that_rebinds_its_name_is_refused_other_than_by_llama_server(start: Start) -> None:
    client = await start()
    evil = f"evil.example:{client.port}"
    for method in ("GET", "POST", "OPTIONS"):
        async with client.request(method, "/v1/models", headers={"Host": evil}) as response:
            error = (await response.json())["error"]
        assert (response.status, error["type"]) == (403, "permission_error")
        assert "evil.example" in error["message"]
