"""Page: the web page of the server and its files, under a policy that lets nothing in from elsewhere."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

ASSETS = Path(__file__).parent.parent / "assets"
FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
"""What is served without an API key, by path."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page(http: web.Request) -> web.StreamResponse:
    """One of `FILES`; the browser asks again each time, and gets 304 while the file is the same."""
    return web.FileResponse(ASSETS / FILES[http.path], headers=HEADERS)
