"""TLS: faults of the files before anything is loaded, and real clients of a real server."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import requests
import trustme
from process import FAKE, Server

from llamahttp.config import HttpConfig
from llamahttp.errors import StartupError
from llamahttp.tls import context

HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Files:
    """PEM files."""

    ca: Path
    cert: Path
    key: Path

    @property
    def flags(self) -> list[str]:
        return ["--ssl-cert-file", str(self.cert), "--ssl-key-file", str(self.key)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    found = Files(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(found.ca)
    found.key.write_bytes(issued.private_key_pem.bytes())
    found.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return found


@pytest.fixture(scope="module")
def url(files: Files) -> Iterator[str]:
    with Server(FAKE, ["--port", "0", *files.flags], {"FAKE_STEP_S": "0"}) as server:
        yield server.ready()


# --- faults


def load(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    return context(HttpConfig(ssl_cert_file=cert, ssl_key_file=key))


def test_plain_text_is_the_default(files: Files) -> None:
    assert load(None, None) is None
    assert load(files.cert, files.key) is not None


def test_one_file_without_the_other_does_not_mean_plain_text_other_than_with_llama_server(files: Files) -> None:
    with pytest.raises(StartupError, match="--ssl-cert-file needs --ssl-key-file too"):
        load(files.cert, None)
    with pytest.raises(StartupError, match="--ssl-key-file needs --ssl-cert-file too"):
        load(None, files.key)


def test_the_wrong_file_is_named(files: Files, tmp_path: Path) -> None:
    junk, cut = tmp_path / "junk", tmp_path / "cut.pem"
    junk.write_bytes(bytes(range(256)))
    cut.write_text(files.cert.read_text()[:300])
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    with pytest.raises(StartupError, match=f"--ssl-cert-file: {files.key} does not hold a certificate in PEM"):
        load(files.key, files.cert)
    with pytest.raises(StartupError, match=f"--ssl-key-file: {junk} does not hold a private key in PEM"):
        load(files.cert, junk)
    with pytest.raises(StartupError, match=f"{other} is not the key of the certificate {files.cert}"):
        load(files.cert, other)
    with pytest.raises(StartupError, match=f"{cut} or .* is damaged"):
        load(cut, files.key)
    with pytest.raises(StartupError, match="cannot read"):
        load(tmp_path, files.key)


def test_a_key_with_a_password_is_refused_and_not_asked_for(files: Files, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", files.key, "-aes128", "-passout", "pass:secret", "-out", locked], check=True
    )
    with pytest.raises(StartupError, match="is encrypted; give a key without a password"):
        load(files.cert, locked)


def test_faults_come_before_the_model_is_loaded(files: Files) -> None:
    with Server(FAKE, ["--port", "0", *files.flags[:2]], {"FAKE_LOAD_S": "30"}) as server:
        status, out, err = server.end()
    assert (status, out) == (1, "")
    assert "--ssl-cert-file needs --ssl-key-file too" in err


# --- clients


def test_the_start_says_https(url: str) -> None:
    assert url.startswith("https://127.0.0.1:")


def test_httpx_and_requests(url: str, files: Files) -> None:
    trusted = ssl.create_default_context(cafile=str(files.ca))
    assert httpx.get(f"{url}/health", verify=trusted).json() == {"status": "ok"}
    assert requests.get(f"{url}/health", verify=str(files.ca), timeout=10).json() == {"status": "ok"}
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/health")


def test_the_openai_client_streams(url: str, files: Files) -> None:
    trusted = ssl.create_default_context(cafile=str(files.ca))
    with (
        httpx.Client(verify=trusted) as http,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http) as client,
    ):
        stream = client.chat.completions.create(model="any", messages=HELLO, max_tokens=5, stream=True)  # type: ignore[call-overload]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_curl(url: str, files: Files) -> None:
    command = ["curl", "-sS", "--cacert", files.ca, "-d", '{"prompt": "a", "n_predict": 2}', f"{url}/completion"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert '"stop":true' in done.stdout, done.stderr


def test_openssl_finds_a_modern_protocol_only(url: str, files: Files) -> None:
    host = url.removeprefix("https://")
    for flags, succeeds in (([], True), (["-tls1_2"], True), (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], False)):
        command = ["openssl", "s_client", "-connect", host, "-CAfile", files.ca, "-verify_return_error", *flags]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=20)
        assert (done.returncode == 0) is succeeds, done.stdout


def test_plain_text_is_not_answered_and_does_no_harm(url: str, files: Files) -> None:
    host, _, port = url.removeprefix("https://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in client.recv(1000)
    assert requests.get(f"{url}/health", verify=str(files.ca), timeout=10).status_code == 200
