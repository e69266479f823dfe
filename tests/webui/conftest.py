"""The real server with the demo model, and the system's Chromium in front of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from llamahttp.config import WEB_UI

from ..process import REAL, Server

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEY = "correct-horse"

Open = Callable[..., Awaitable["Page"]]
"""Opens the page of a server in a browser that has not seen it before, and waits until it can be used."""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server; tokens are drawn the same way each time."""
    if not (WEB_UI / "index.html").exists():
        pytest.skip("the web UI is not built; make setup builds it")
    with Server(REAL, ["--port", "0", "--metrics", "--seed", "1", "--api-prefix", "/llama"]) as process:
        yield process.ready() + "/llama/"


@pytest.fixture(scope="session")
def guarded() -> Iterator[str]:
    """The URL of a server that asks for a key."""
    if not (WEB_UI / "index.html").exists():
        pytest.skip("the web UI is not built; make setup builds it")
    with Server(REAL, ["--port", "0", "--api-key", KEY]) as process:
        yield process.ready() + "/"


@pytest.fixture(scope="session")
def configured() -> Iterator[str]:
    """The URL of a server whose owner gives the page defaults."""
    if not (WEB_UI / "index.html").exists():
        pytest.skip("the web UI is not built; make setup builds it")
    given = {
        "theme": "dark",
        "systemMessage": "Be brief.",
        "pasteLongTextToFileLen": 300,
        "temperature": 0.4,
        "samplers": "top_k;temperature",
    }
    with Server(REAL, ["--port", "0", "--seed", "1", "--ui-config", json.dumps(given)]) as process:
        yield process.ready() + "/"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this system")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    options: dict[str, Any] = {"executable_path": CHROMIUM}
    if os.geteuid() == 0:
        options["args"] = ["--no-sandbox"]  # Chromium's sandbox refuses to run as root
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(**options)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, server: str) -> AsyncIterator[Open]:
    """Fails the test afterwards if the page logged an error: of a script, or of what its policy has blocked."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    async def open_one(
        url: str = server, width: int = 1280, height: int = 800, may_fail: bool = False, **options: Any
    ) -> Page:
        """`may_fail`: errors of the page are what the test is about."""
        context = await browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(60_000)  # finds what hangs, also on a busy machine
        contexts.append(context)
        page = await context.new_page()
        if not may_fail:
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        await page.goto(url)
        return page

    yield open_one
    for context in contexts:
        await context.close()
    refused = "Failed to load resource"  # a server's answer with an error, which the tests provoke
    assert [error for error in errors if refused not in error] == []
