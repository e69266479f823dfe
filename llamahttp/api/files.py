"""Files: what the server shows in a browser: the web UI, the plain page where that is not built, or a directory of
the server's owner.

Both pages stand under a policy that lets nothing in from elsewhere. Of the directory all is served as it is.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from ..config import ASSETS, HttpConfig

PLAIN = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
"""The plain page's files, by path."""
INDEX = "index.html"
HASHED = "assets"
"""Folder of the web UI whose files have a hash of their content in their name."""
COMPRESSED = (".br", ".gz")
"""Beside a file, for the browsers that take it so."""
WORKER = "/sw.js"
"""Where llama-server's page has its service worker. A browser that knows it goes on showing that page, from its own
store, until the script is replaced: ours takes itself away."""

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
"""The browser asks again each time, and gets 304 while the file is the same."""
PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "media-src data: blob:; font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
SANDBOX = "sandbox.html"
"""The web UI's frame for JavaScript of its reader, which runs there without an origin, network or storage."""
SANDBOX_HEADERS = PAGE_HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-eval'; worker-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
    ),
}
HASHED_HEADERS = PAGE_HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
"""Another content would have another name, so the browser need not ask again."""


def page(root: Path) -> dict[str, Path]:
    """The files of the page that is served, by path, where `root` has the web UI or nothing."""
    if not (root / INDEX).is_file():
        return {path: ASSETS / name for path, name in PLAIN.items()}
    files = (path for path in root.rglob("[!.]*") if path.is_file() and path.suffix not in COMPRESSED)
    return {"/": root / INDEX} | {f"/{path.relative_to(root).as_posix()}": path for path in files}


class Page:
    """The files of the page, listed anew whenever the web UI has been built anew: the names in it are others then."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._built: tuple[int, int] | None = None
        self._files = page(root)

    def files(self) -> dict[str, Path]:
        built = self._identity()
        if built != self._built:
            self._files, self._built = page(self._root), built
        return self._files

    def _identity(self) -> tuple[int, int] | None:
        """Another one after each build, which moves all into its place; None without a web UI."""
        try:
            stat = (self._root / INDEX).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns


class Shown:
    """The paths that a browser needs to show the page: no API key protects them, and they do not wait for the model.
    Of a directory, as in llama-server, only its index."""

    def __init__(self, config: HttpConfig) -> None:
        self._paths = {WORKER} | ({"/", "/" + INDEX} if config.ui and config.static_path else set())
        self._page = Page(config.web_ui) if config.ui and not config.static_path else None

    def __contains__(self, path: str) -> bool:
        return path in self._paths or (self._page is not None and path in self._page.files())


def add_files(router: web.UrlDispatcher, config: HttpConfig) -> None:
    """Serve what is configured. To be called after all other routes: a directory takes every path that is left."""
    prefix = config.api_prefix
    if config.ui and config.static_path is not None:
        root = config.static_path.resolve()
        if not (root / WORKER.strip("/")).exists():
            router.add_get(prefix + WORKER, _file(ASSETS / "sw.js", HEADERS))
        router.add_get(prefix + "/{path:.*}", _directory(root))
        return
    router.add_get(prefix + WORKER, _file(ASSETS / "sw.js", HEADERS))
    if config.ui:
        add_page(router, prefix, Page(config.web_ui))


def add_page(router: web.UrlDispatcher, prefix: str, page: Page) -> None:
    """Routes for the files beside the index, and for the folders: what is in those changes with each build."""
    serve = _page_file(page, len(prefix))
    paths = {*page.files(), *PLAIN}
    for path in sorted(path for path in paths if "/" not in path[1:]):
        router.add_get(prefix + path, serve)
    for folder in sorted({HASHED, *(path.split("/")[1] for path in paths if "/" in path[1:])}):
        router.add_get(f"{prefix}/{folder}/{{path:.+}}", serve)


def _page_file(page: Page, n_prefix: int) -> Handler:
    async def serve(http: web.Request) -> web.StreamResponse:
        file = page.files().get(http.path[n_prefix:])
        if file is None:
            raise web.HTTPNotFound
        return web.FileResponse(file, headers=headers_of(file))

    return serve


def headers_of(file: Path) -> dict[str, str]:
    """Of a file of the page."""
    if file.name == SANDBOX:
        return SANDBOX_HEADERS
    return HASHED_HEADERS if file.parent.name == HASHED else PAGE_HEADERS


def _file(path: Path, headers: dict[str, str]) -> Handler:
    async def serve(http: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers=headers)

    return serve


def _directory(root: Path) -> Handler:
    async def serve(http: web.Request) -> web.StreamResponse:
        path = find(root, http.match_info["path"])
        if path is None:
            raise web.HTTPNotFound
        if path.is_dir():
            raise web.HTTPPermanentRedirect(http.rel_url.with_path(http.rel_url.path + "/"))
        return web.FileResponse(path, headers=HEADERS)

    return serve


def find(root: Path, path: str) -> Path | None:
    """The file or directory below `root` that a URL's path means, which has lost its first slash; None if there is
    none, or it lies outside. A second slash would make a redirect to it one to another server."""
    if path.startswith("/"):
        return None
    try:
        found = (root / path).resolve()
        if path == "" or path.endswith("/"):
            found /= INDEX
        if found.is_relative_to(root) and found.exists():
            return found
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        pass
    return None
