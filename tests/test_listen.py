"""Listen: addresses, ports and sockets as `--host` and `--port` name them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from llamahttp.errors import StartupError
from llamahttp.listen import listening, paths, urls


def connects(sock: socket.socket) -> bool:
    with socket.socket(sock.family, sock.type) as client:
        try:
            client.connect(sock.getsockname())
        except OSError:
            return False
    return True


def test_several_addresses_share_the_port_that_the_kernel_chose() -> None:
    with listening("127.0.0.1, 127.0.0.2", 0) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "127.0.0.2"]
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert all(map(connects, sockets))
        assert not any(sock.getblocking() for sock in sockets)


def test_nothing_listens_after_the_block() -> None:
    with listening("127.0.0.1", 0) as sockets:
        name = sockets[0].getsockname()
    with listening("127.0.0.1", name[1]) as again:
        assert again[0].getsockname() == name


def test_localhost_is_found() -> None:
    with listening("localhost", 0) as sockets:
        assert sockets and all(map(connects, sockets))


def test_a_port_in_use_is_named_and_the_other_sockets_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"cannot listen on 127\.0\.0\.1:{port}: the port is in use"):
            with listening(f"{path},127.0.0.1", port):
                pass
    assert not path.exists()


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("", "--host needs at least one address"),
        (" , ", "--host needs at least one address"),
        ("no.such.host.invalid", "there is no such address"),
        ("192.0.2.1", "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
        ("/no/such/dir/a.sock", "cannot listen on /no/such/dir/a.sock: No such file or directory"),
        ("/" + "a" * 200 + ".sock", "path too long"),
    ],
)
def test_an_address_that_cannot_be_had(hosts: str, message: str) -> None:
    with pytest.raises(StartupError, match=message), listening(hosts, 0):
        pass


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with listening(str(path), 0) as sockets:
        assert connects(sockets[0])
    assert not path.exists()


def test_a_socket_that_is_served_and_a_plain_file_are_left_alone(tmp_path: Path) -> None:
    path, plain = tmp_path / "a.sock", tmp_path / "b.sock"
    plain.write_text("a file of somebody's")
    with listening(str(path), 0) as sockets:
        for taken in (path, plain):
            with pytest.raises(StartupError, match="Address already in use"), listening(str(taken), 0):
                pass
        assert connects(sockets[0])
    assert plain.read_text() == "a file of somebody's"


def test_urls_are_those_that_a_client_here_can_use(tmp_path: Path) -> None:
    with listening("127.0.0.1", 0) as sockets:
        assert urls(sockets) == [f"http://127.0.0.1:{sockets[0].getsockname()[1]}"]
        assert paths(sockets) == []
    with listening("0.0.0.0", 0) as sockets:
        assert urls(sockets) == [f"http://127.0.0.1:{sockets[0].getsockname()[1]}"]
    with listening(f"{tmp_path / 'a.sock'}, 127.0.0.1", 0) as sockets:
        assert urls(sockets) == [f"http://127.0.0.1:{sockets[1].getsockname()[1]}"]
        assert paths(sockets) == [str(tmp_path / "a.sock")]
