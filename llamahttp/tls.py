"""TLS: the server's certificate and its key, checked before a model is loaded."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from .config import HttpConfig
from .errors import StartupError


def context(config: HttpConfig) -> ssl.SSLContext | None:
    """What TLS needs, None where it is not configured.

    Raises StartupError for files that are not what they should be, or do not belong together, and where one is given
    without the other: to serve in plain text then would surprise.
    """
    certificate, key = config.ssl_cert_file, config.ssl_key_file
    if certificate is None and key is None:
        return None
    if certificate is None:
        raise StartupError("--ssl-key-file needs --ssl-cert-file too")
    if key is None:
        raise StartupError("--ssl-cert-file needs --ssl-key-file too")
    _check(certificate, "--ssl-cert-file", "CERTIFICATE", "a certificate")
    _check(key, "--ssl-key-file", "PRIVATE KEY", "a private key")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, password=lambda: _refuse_password(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartupError(f"--ssl-key-file: {key} is not the key of the certificate {certificate}") from None
        reason = (error.reason or str(error)).lower().replace("_", " ")
        raise StartupError(f"--ssl-cert-file, --ssl-key-file: {certificate} or {key} is damaged: {reason}") from None
    return made


def _check(path: Path, flag: str, label: str, what: str) -> None:
    """Whether a file looks like PEM of the kind, to tell the wrong one of the two by name."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise StartupError(f"{flag}: cannot read {path}: {error.strerror}") from None
    if f"{label}-----" not in text:
        raise StartupError(f"{flag}: {path} does not hold {what} in PEM")


def _refuse_password(key: Path) -> NoReturn:
    # OpenSSL would ask for it on the terminal, and wait
    raise StartupError(f"--ssl-key-file: {key} is encrypted; give a key without a password")
