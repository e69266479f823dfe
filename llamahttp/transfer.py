"""Transfer: fetches a file over HTTP, goes on where an earlier attempt ended, and names it only when it is whole."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp

from .errors import StartupError

log = logging.getLogger(__name__)

SUFFIX = ".downloadInProgress"
"""llama-server's, so that each of the two goes on with what the other began."""

CHUNK = 1 << 20
STALLED_S = 60
"""Seconds without a byte after which a connection counts as broken."""
N_ATTEMPTS = 5
"""Attempts in a row that bring nothing before it is given up."""
PAUSE_S = 0.5
"""How long the first of them waits; each further one waits twice as long."""

OnProgress = Callable[[int, int | None], None]
"""Gets the bytes that are on disk, and the bytes in all if known."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to fetch."""

    url: str
    path: Path
    """Where it goes."""
    size: int | None = None
    """Bytes, where known before."""
    sha256: str | None = None
    token: str | None = None
    replaces: bool = False
    """Whether a file that is there already is an old version."""

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class _Broken(Exception):
    """An attempt ended early; another one may help."""


async def fetch(
    session: aiohttp.ClientSession, remote: Remote, on_progress: OnProgress, pause_s: float = PAUSE_S
) -> str:
    """Fetch a file, unless it is there and no old version; returns its ETag, which is empty if nothing was fetched.

    Raises StartupError.
    """
    part = remote.path.with_name(remote.path.name + SUFFIX)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        async with _locked(part) as file:
            if remote.path.exists() and not remote.replaces:
                part.unlink(missing_ok=True)
                return ""
            etag = await _fetch(session, remote, file, on_progress, pause_s)
            await asyncio.to_thread(_check, file, remote)
            os.replace(part, remote.path)
            etag_file(part).unlink(missing_ok=True)
            return etag
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StartupError(f"the disk is full: {_room(remote, part)}") from None
        raise StartupError(f"cannot write {part}: {error.strerror or error}") from None


@asynccontextmanager
async def _locked(part: Path) -> AsyncIterator[IO[bytes]]:
    """The file of an unfinished transfer, which nobody else writes meanwhile."""
    is_said = False
    while True:
        with part.open("ab+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not is_said:
                    log.info("another process is downloading %s; waiting for it", part.name.removesuffix(SUFFIX))
                is_said = True
                await asyncio.sleep(0.5)
                continue
            if _is_same(file, part):  # else the other one has finished or removed it
                yield file
                return


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


async def _fetch(
    session: aiohttp.ClientSession, remote: Remote, file: IO[bytes], on_progress: OnProgress, pause_s: float
) -> str:
    """Append what is missing, in as many attempts as bring something; none after one that does not reach the server."""
    n_vain, was_reached = 0, False
    while True:
        before = file.seek(0, os.SEEK_END)
        try:
            return await _attempt(session, remote, file, on_progress)
        except (_Broken, aiohttp.ClientError, asyncio.TimeoutError) as error:
            if isinstance(error, aiohttp.ClientConnectorError) and not was_reached:
                code = error.os_error.errno or 0
                why = os.strerror(code) if code > 0 else str(error.os_error.strerror)  # a name's fault is no errno
                raise StartupError(f"cannot download {remote.url}: {error.host}:{error.port}: {why}") from None
            was_reached = True
            file.flush()
            n_vain = 0 if file.seek(0, os.SEEK_END) > before else n_vain + 1
            if n_vain == N_ATTEMPTS:
                raise StartupError(f"cannot download {remote.url}: {str(error) or type(error).__name__}") from None
            reason = str(error) or type(error).__name__
            pause = pause_s * 2**n_vain
            log.warning("downloading %s was interrupted (%s): again in %.1f s", remote.path.name, reason, pause)
            await asyncio.sleep(pause)


async def _attempt(session: aiohttp.ClientSession, remote: Remote, file: IO[bytes], on_progress: OnProgress) -> str:
    """One request. Returns the ETag once everything is there; raises _Broken or aiohttp's errors if it ended early."""
    part, done = Path(file.name), file.seek(0, os.SEEK_END)
    if remote.size is not None and done == remote.size:
        return ""
    async with session.get(remote.url, headers=_headers(remote, part, done)) as response:
        _check_status(response, remote)
        if done and (response.status != 206 or not _continues(response, done)):
            file.truncate(0)
            done = 0
            if response.status == 206:
                raise _Broken("the server sends another part than the one asked for")
        etag = response.headers.get("ETag", "")
        etag_file(part).write_text(etag)
        length = response.content_length if not response.headers.get("Content-Encoding") else None
        total = remote.size if remote.size is not None else None if length is None else done + length
        _check_room(remote, part, None if total is None else total - done)
        async for chunk in response.content.iter_chunked(CHUNK):
            file.write(chunk)
            done += len(chunk)
            on_progress(done, total)
    file.flush()
    if total is not None and done < total:
        raise _Broken(f"{done} of {total} bytes")
    return etag


def _continues(response: aiohttp.ClientResponse, done: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {done}-")


def _headers(remote: Remote, part: Path, done: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"} | remote.authorization
    etag = etag_file(part).read_text() if etag_file(part).exists() else ""
    # without a checksum, parts of two versions of a file could come together
    if done and (remote.sha256 or etag):
        headers["Range"] = f"bytes={done}-"
        if not remote.sha256:
            headers["If-Range"] = etag
    return headers


def etag_file(path: Path) -> Path:
    """Where the ETag of a file is kept, or of a part of one, as llama-server does it."""
    return path.with_name(path.name + ".etag")


def _check_status(response: aiohttp.ClientResponse, remote: Remote) -> None:
    """Raise StartupError where another attempt would not help, else _Broken."""
    match response.status:
        case 200 | 206:
            return
        case 401 | 403:
            raise StartupError(
                f"{remote.url} may not be read ({response.status}): at Hugging Face it takes a token with access to "
                "it, given with --hf-token or HF_TOKEN"
            )
        case 404 | 410:
            raise StartupError(f"there is no {remote.url} ({response.status})")
        case 416:
            with suppress(FileNotFoundError):
                os.truncate(remote.path.with_name(remote.path.name + SUFFIX), 0)
    raise _Broken(f"the server answers {response.status}")


def _check_room(remote: Remote, part: Path, n_bytes: int | None) -> None:
    if n_bytes is not None and n_bytes > shutil.disk_usage(part.parent).free:
        raise StartupError(f"the disk has no room: {_room(remote, part, n_bytes)}")


def _room(remote: Remote, part: Path, n_bytes: int | None = None) -> str:
    free = shutil.disk_usage(part.parent).free / 2**30
    wanted = "" if n_bytes is None else f" needs {n_bytes / 2**30:.1f} GiB more, but"
    return f"{remote.path.name}{wanted} has {free:.1f} GiB left in {part.parent}"


def _check(file: IO[bytes], remote: Remote) -> None:
    """Raise StartupError for a file that is not what was promised; its bytes are dropped."""
    size = file.seek(0, os.SEEK_END)
    wrong = ""
    if remote.size is not None and size != remote.size:
        wrong = f"it has {size} bytes instead of {remote.size}"
    elif remote.sha256 is not None and _sha256(file) != remote.sha256:
        wrong = "its checksum is wrong"
    if wrong:
        file.truncate(0)
        raise StartupError(f"{remote.url} arrived damaged: {wrong}; start again to fetch it anew")


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
