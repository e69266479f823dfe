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
        "media-src data: blob:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
HASHED_HEADERS = PAGE_HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
"""Another content would have another name, so the browser need not ask again."""


def page(config: HttpConfig) -> dict[str, Path]:
    """The files of the page that is served, by path."""
    root = config.web_ui
    if not (root / INDEX).is_file():
        return {path: ASSETS / name for path, name in PLAIN.items()}
    files = (path for path in root.rglob("[!.]*") if path.is_file() and path.suffix not in COMPRESSED)
    return {"/": root / INDEX} | {f"/{path.relative_to(root).as_posix()}": path for path in files}


def shown(config: HttpConfig) -> frozenset[str]:
    """The paths that a browser needs to show the page: no API key protects them, and they do not wait for the model.
    Of a directory, as in llama-server, only its index."""
    if not config.ui:
        return frozenset({WORKER})
    return frozenset({"/", "/" + INDEX, WORKER} if config.static_path else {*page(config), WORKER})


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
        for path, file in page(config).items():
            router.add_get(prefix + path, _file(file, HASHED_HEADERS if file.parent.name == HASHED else PAGE_HEADERS))


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
