"""Download: brings the model that a configuration names to this machine, before anything is served."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from . import gguf_names, hub, terminal
from .config import LogConfig, ServerConfig
from .errors import StartupError
from .log import OUTPUT
from .transfer import PAUSE_S, STALLED_S, Remote, etag_file, fetch

log = logging.getLogger(__name__)

N_AT_ONCE = 4
"""Parts of a split model that are fetched at the same time."""


def fetched(config: ServerConfig, environ: Mapping[str, str], pause_s: float = PAUSE_S) -> ServerConfig:
    """The configuration with the model as a file of this machine. Blocks; raises StartupError.

    `pause_s`: how long a download waits that was interrupted, twice as long after each attempt that brought nothing.
    """
    source = config.source
    if source.repo is not None:
        return _with_model(config, _from_hub(config, environ, pause_s))
    if source.file is not None:
        raise StartupError("--hf-file names a file of the repository that --hf-repo names, which is not given")
    if source.url is not None:
        return _with_model(config, _from_url(config, environ, pause_s))
    return config


def _with_model(config: ServerConfig, path: Path) -> ServerConfig:
    return replace(config, engine=replace(config.engine, model=path))


def _from_hub(config: ServerConfig, environ: Mapping[str, str], pause_s: float) -> Path:
    source = config.source
    repo, _, quant = (source.repo or "").partition(":")
    endpoint = hub.endpoint(environ)
    cache = hub.HubCache(hub.cache_directory(environ))
    snapshot = hub.find_snapshot(cache, repo, source, endpoint)
    files = hub.choose(snapshot, quant, source.file)
    missing = [file for file in files if not cache.path(snapshot, file.path).exists()]
    remotes = [cache.remote(snapshot, file, endpoint, source.token) for file in missing]
    download(remotes, [file.path for file in missing], config.log, pause_s)
    try:
        for file, remote in zip(missing, remotes, strict=True):
            cache.link(snapshot, file, remote.path)
        if missing:
            cache.finish(snapshot)
    except OSError as error:
        raise StartupError(f"cannot write to the cache {cache.directory}: {error.strerror}") from None
    mmproj = gguf_names.find_mmproj(snapshot.paths, files[0].path) if source.wants_mmproj else None
    if mmproj is not None:
        log.warning("%s has %s for images, which are not understood yet: it is left out", repo, mmproj)
    return cache.path(snapshot, files[0].path)


# --- by URL


def _from_url(config: ServerConfig, environ: Mapping[str, str], pause_s: float) -> Path:
    """The first part; with `-m` it goes there, else into llama-server's directory for such files."""
    url = config.source.url or ""
    given = config.engine.model if config.source.path is not None else None
    paths = [_path_of(part, given, environ) for part in gguf_names.all_parts(url)]
    # another server than the one that gave it must not see the token
    token = config.source.token if url.startswith(hub.endpoint(environ) + "/") else None
    remotes = [Remote(part, path, token=token) for part, path in zip(gguf_names.all_parts(url), paths, strict=True)]
    if config.source.is_offline:
        for path in paths:
            if not path.exists():
                raise StartupError(f"{path} is not there, and --offline forbids to download it")
        return paths[0]
    remotes = [
        replace(remote, replaces=True)
        for remote in remotes
        if not remote.path.exists() or asyncio.run(_has_changed(remote))
    ]
    etags = download(remotes, [remote.path.name for remote in remotes], config.log, pause_s)
    for remote, etag in zip(remotes, etags, strict=True):
        if etag:
            etag_file(remote.path).write_text(etag)
    return paths[0]


def _path_of(url: str, given: Path | None, environ: Mapping[str, str]) -> Path:
    name = urlsplit(url).path.rpartition("/")[2]
    if given is not None:
        return given if gguf_names.all_parts(url) == [url] else given.parent / name
    if environ.get("LLAMA_CACHE"):
        return Path(environ["LLAMA_CACHE"]) / name
    return hub.cache_home(environ) / "llama.cpp" / name


async def _has_changed(remote: Remote) -> bool:
    """Whether the server has another version than the file."""
    etag = ""
    with suppress(aiohttp.ClientError, asyncio.TimeoutError):  # unreachable: what there is will do
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), trust_env=True) as session,
            session.head(remote.url, headers=remote.authorization, allow_redirects=True) as response,
        ):
            etag = response.headers.get("ETag", "") if response.status == 200 else ""
    known = etag_file(remote.path)
    if not etag or (known.exists() and known.read_text() == etag):
        return False
    log.info("%s has changed, it is fetched anew", remote.url)
    return True


# --- several files, and how far they are


def download(remotes: Sequence[Remote], names: Sequence[str], config: LogConfig, pause_s: float) -> list[str]:
    """Fetch files, several at once, and show how far they are. Returns their ETags. Raises StartupError."""
    if not remotes:
        return []
    return asyncio.run(_download(remotes, names, config, pause_s))


async def _download(remotes: Sequence[Remote], names: Sequence[str], config: LogConfig, pause_s: float) -> list[str]:
    sizes = [remote.size for remote in remotes]
    progress = Progress(len(remotes))
    size = f", {terminal.size(sum(filter(None, sizes)))}" if all(sizes) else ""
    more = f" and {len(names) - 1} more parts" if len(names) > 1 else ""
    log.log(OUTPUT, "downloading %s%s%s", names[0], more, size)
    showing = asyncio.create_task(terminal.show_progress(config, progress.share, "downloading", progress.detail))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=STALLED_S)
    gate = asyncio.Semaphore(N_AT_ONCE)

    async def one(index: int, remote: Remote) -> str:
        async with gate:
            return await fetch(session, remote, lambda done, total: progress.update(index, done, total), pause_s)

    try:
        # the environment's proxies count, as for every other tool that downloads
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as session:
            tasks = [asyncio.ensure_future(one(index, remote)) for index, remote in enumerate(remotes)]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


class Progress:
    """How far several transfers are together."""

    def __init__(self, n_files: int) -> None:
        self._done = [0] * n_files
        self._total: list[int | None] = [None] * n_files
        self._first = 0
        self._began: float | None = None

    def update(self, index: int, done: int, total: int | None) -> None:
        self._done[index], self._total[index] = done, total
        if self._began is None:
            self._began, self._first = time.monotonic(), sum(self._done)

    def share(self) -> float:
        """0 to 1; of sizes that are not known yet nothing counts."""
        total = sum(filter(None, self._total))
        return sum(self._done) / total if total else 0.0

    def detail(self) -> str:
        """`1.2 GiB of 2.8 GiB, 25.0 MiB/s`"""
        done, total = sum(self._done), sum(filter(None, self._total))
        seconds = time.monotonic() - self._began if self._began is not None else 0.0
        rate = f", {terminal.size(int((done - self._first) / seconds))}/s" if seconds > 1 else ""
        return terminal.size(done) + (f" of {terminal.size(total)}" if total else "") + rate
