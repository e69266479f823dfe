"""Hub: models of Hugging Face and the cache that they are kept in, which llama-server and Hugging Face's tools share.

models--USER--MODEL/
    refs/main                  the commit that was last fetched
    blobs/OID                  contents, by their checksums
    snapshots/COMMIT/PATH      links to them
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import gguf_names
from .config import ModelSource
from .errors import StartupError
from .transfer import Remote

log = logging.getLogger(__name__)

ENDPOINT = "https://huggingface.co"
PREFIX = "models--"
BRANCH = "main"
ROUTER_PRESET = "preset.ini"
"""A repository with this file describes several models."""

SHA256 = re.compile(r"[0-9a-f]{64}")
SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. Where it is cached, nothing but the path is known."""

    path: str
    size: int | None = None
    oid: str | None = None
    """SHA-256 of large files, git's checksum of small ones."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at a commit."""

    repo: str
    commit: str
    files: Sequence[HubFile]

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]


def endpoint(environ: Mapping[str, str]) -> str:
    """Where the repositories are, without a slash at its end: at Hugging Face, or at a mirror of it."""
    return (environ.get("MODEL_ENDPOINT") or environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where llama-server and Hugging Face's tools keep repositories."""
    for variable, inside in (
        ("LLAMA_CACHE", ""),
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
    ):
        if environ.get(variable):
            return Path(environ[variable]) / inside
    return cache_home(environ) / "huggingface/hub"


def cache_home(environ: Mapping[str, str]) -> Path:
    """Where programs keep what they can fetch again."""
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"])
    return (Path(environ["HOME"]) if environ.get("HOME") else Path.home()) / ".cache"


class HubCache:
    """The cache of repositories."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def _home(self, repo: str) -> Path:
        return self.directory / (PREFIX + repo.replace("/", "--"))

    def snapshot(self, repo: str) -> Snapshot | None:
        """What is cached of a repository, whole files only."""
        home = self._home(repo)
        commit = _read_commit(home)
        if commit is None:
            return None
        root = home / "snapshots" / commit
        paths = sorted(path for path in root.rglob("*") if path.is_file())  # no link to what is gone
        return Snapshot(repo, commit, [HubFile(path.relative_to(root).as_posix()) for path in paths])

    def repos(self) -> list[str]:
        """Names of the repositories that there are."""
        homes = sorted(self.directory.glob(f"{PREFIX}*--*")) if self.directory.is_dir() else []
        return [home.name.removeprefix(PREFIX).replace("--", "/") for home in homes]

    def path(self, snapshot: Snapshot, path: str) -> Path:
        """Where a file of a snapshot is, or will be."""
        return self._home(snapshot.repo) / "snapshots" / snapshot.commit / path

    def remote(self, snapshot: Snapshot, file: HubFile, endpoint: str, token: str | None) -> Remote:
        """What to fetch for a file."""
        oid = file.oid
        blob = self._home(snapshot.repo) / "blobs" / oid if oid else self.path(snapshot, file.path)
        url = f"{endpoint}/{snapshot.repo}/resolve/{snapshot.commit}/{file.path}"
        return Remote(url, blob, file.size, oid if oid and SHA256.fullmatch(oid) else None, token)

    def link(self, snapshot: Snapshot, file: HubFile, blob: Path) -> None:
        """Make a fetched file part of its snapshot."""
        path = self.path(snapshot, file.path)
        if blob == path or path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a link to what is gone
        try:
            path.symlink_to(os.path.relpath(blob, path.parent))
        except OSError:  # a file system without links
            os.replace(blob, path)

    def finish(self, snapshot: Snapshot) -> None:
        """Make this commit the one that `snapshot` finds."""
        ref = self._home(snapshot.repo) / "refs" / BRANCH
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f"{BRANCH}.new-{os.getpid()}")
        new.write_text(snapshot.commit)
        os.replace(new, ref)


def _read_commit(home: Path) -> str | None:
    refs = home / "refs"
    names = sorted(refs.iterdir(), key=lambda ref: ref.name != BRANCH) if refs.is_dir() else []
    for ref in names:
        commit = ref.read_text().strip() if ref.is_file() else ""
        if SHA1.fullmatch(commit) and (home / "snapshots" / commit).is_dir():
            return commit
    return None


def list_repository(repo: str, endpoint: str, token: str | None) -> Snapshot:
    """Ask for the files of a repository. Raises StartupError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint, token=token or None)
    try:
        commit = _checked_commit(api.model_info(repo, timeout=30).sha, endpoint)
        entries = list(api.list_repo_tree(repo, revision=commit, recursive=True))
    except StartupError:
        raise
    except GatedRepoError:
        raise StartupError(
            f"{repo} is gated: accept its conditions at {endpoint}/{repo} and give a token with --hf-token or HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise StartupError(
            f"there is no repository {repo} at {endpoint}, or it is private: then give a token with --hf-token or "
            "HF_TOKEN"
        ) from None
    except HfHubHTTPError as error:
        raise StartupError(f"{endpoint} does not list {repo}: {_first_line(error)}") from None
    except HFValidationError as error:
        raise StartupError(f"{repo} is not the name of a repository: {_first_line(error)}") from None
    except Exception as error:  # of the HTTP client, which differs from version to version
        raise StartupError(f"cannot reach {endpoint}: {_first_line(error)}") from None
    files = [
        HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
        for entry in entries
        if isinstance(entry, RepoFile)
    ]
    return Snapshot(repo, commit, [file for file in files if _is_safe(file)])


def _checked_commit(commit: str | None, endpoint: str) -> str:
    """A commit as a directory may be called; mirrors say what they like."""
    if commit is None or not SHA1.fullmatch(commit):
        raise StartupError(f"{endpoint} names no commit of the repository, but {commit!r}")
    return commit


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _is_safe(file: HubFile) -> bool:
    """Whether a file's path stays in its repository, and its checksum among the contents."""
    is_inside = not file.path.startswith("/") and ".." not in file.path.split("/")
    return is_inside and (file.oid is None or bool(SHA1.fullmatch(file.oid) or SHA256.fullmatch(file.oid)))


def find_snapshot(cache: HubCache, repo: str, source: ModelSource, endpoint: str) -> Snapshot:
    """A repository as it is, or as it is cached where it cannot be asked. Raises StartupError."""
    cached = cache.snapshot(repo)
    if source.is_offline:
        if cached is None:
            raise StartupError(f"{repo} is not in the cache {cache.directory}, and --offline forbids to download it")
        return cached
    try:
        return list_repository(repo, endpoint, source.token)
    except StartupError as error:
        if cached is None:
            raise
        log.warning("%s; going on with what is cached", error)
        return cached


def choose(snapshot: Snapshot, quant: str, file: str | None) -> list[HubFile]:
    """The files that make up the model, the first part first. Raises StartupError."""
    paths = snapshot.paths
    if ROUTER_PRESET in paths:
        raise StartupError(f"{snapshot.repo} describes several models; one server serves one model")
    if file is not None and file not in paths:
        raise StartupError(f"{snapshot.repo} has no file {file}{_among(gguf_names.models(paths))}")
    found = file or gguf_names.find_model(paths, quant)
    if found is None:
        wanted = f"no {quant}" if quant else "no GGUF model"
        raise StartupError(f"{snapshot.repo} has {wanted}{_among(gguf_names.quants(paths))}")
    parts = gguf_names.all_parts(found)
    missing = sorted(set(parts) - set(paths))
    if missing:
        raise StartupError(f"{snapshot.repo} lacks {len(missing)} of {len(parts)} parts: {', '.join(missing[:3])}")
    by_path = {each.path: each for each in snapshot.files}
    return [by_path[part] for part in parts]


def _among(names: Sequence[str]) -> str:
    return f"; there is {', '.join(names)}" if names else ""


def cached_models(environ: Mapping[str, str]) -> Iterator[str]:
    """What `--cache-list` shows: `user/model:quant` of all that is cached."""
    cache = HubCache(cache_directory(environ))
    for repo in cache.repos():
        snapshot = cache.snapshot(repo)
        for quant in gguf_names.quants(snapshot.paths) if snapshot else ():
            yield f"{repo}:{quant}"
