"""Answers outlive what happens to the connection and to the server."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from llamahttp.config import WEB_UI

from ..process import REAL, Server
from .conftest import Open
from .steps import act, answers, ask, grown, ready, send, set_parameters, text_of, whole
from .wire import Wire

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def wire(server: str) -> AsyncIterator[Wire]:
    wire = Wire(server)
    await wire.mend()
    yield wire
    await wire.cut()


async def long_answers(page: Page, n_tokens: int) -> list[str]:
    """Make each answer so long; returns the names of the streams, which grows with each question."""
    names: list[str] = []

    async def lengthen(route: Route) -> None:
        names.append(route.request.headers["x-conversation-id"])
        body = json.loads(route.request.post_data or "{}") | {"ignore_eos": True, "max_tokens": n_tokens}
        await route.continue_(post_data=json.dumps(body))

    await page.route("**/v1/chat/completions", lengthen)
    return names


async def kept_messages(page: Page) -> list[dict[str, Any]]:
    """What the browser has stored."""
    script = """() => new Promise((resolve, reject) => {
        const opening = indexedDB.open("llamahttp");
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
            const all = opening.result.transaction("messages").objectStore("messages").getAll();
            all.onsuccess = () => resolve(all.result);
        };
    })"""
    messages: list[dict[str, Any]] = await page.evaluate(script)
    return messages


def streamed(url: str, name: str) -> str:
    """The text of a whole stream, as the server has it."""
    with urllib.request.urlopen(f"{url}v1/stream?conv_id={name}&from=0", timeout=30) as response:
        lines = response.read().decode().splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


async def test_an_answer_outlives_a_lost_connection(open_page: Open, wire: Wire, server: str) -> None:
    page = await open_page(wire.url)
    await ready(page)
    names = await long_answers(page, 1200)
    await send(page, "Tell me a story.")
    await grown(page, 150)
    for _ in range(2):
        await wire.cut()
        await page.get_by_text("Connection lost. Reconnecting").wait_for()
        assert len(await text_of(answers(page).last)) > 150, "what had come stays"
        await page.wait_for_selector("[data-health=gone]")
        await wire.mend()
        await page.get_by_text("Connection lost. Reconnecting").wait_for(state="detached")
        await ready(page)
    await whole(answers(page).last)
    answer = next(message for message in await kept_messages(page) if message["role"] == "assistant")
    assert answer["content"] == await asyncio.to_thread(streamed, server, names[0]), "nothing is lost or doubled"


async def test_a_page_that_is_reloaded_without_a_connection_keeps_the_answer_and_goes_on(
    open_page: Open, wire: Wire, server: str
) -> None:
    page = await open_page(wire.url)
    await ready(page)
    names = await long_answers(page, 1200)
    await send(page, "Tell me a story.")
    await grown(page, 400)
    other = await page.context.new_page()  # it has the page, and loses the connection before it has the stream
    await other.route("**/v1/stream*", lambda route: route.abort())
    await other.goto(page.url)
    await other.get_by_text("Connection lost. Reconnecting").wait_for()
    assert len(await text_of(answers(other).last)) > 100
    await other.unroute("**/v1/stream*")
    await other.get_by_text("Connection lost. Reconnecting").wait_for(state="detached")
    await whole(answers(other).last)
    answer = next(message for message in await kept_messages(other) if message["role"] == "assistant")
    assert answer["content"] == await asyncio.to_thread(streamed, server, names[0])


async def test_stopping_ends_the_attempts_to_reconnect(open_page: Open, wire: Wire) -> None:
    page = await open_page(wire.url)
    await ready(page)
    await long_answers(page, 1500)
    await send(page, "Tell me a story.")
    await grown(page, 100)
    await wire.cut()
    await page.get_by_text("Connection lost. Reconnecting").wait_for()
    await page.get_by_role("button", name="Stop").click()
    await page.wait_for_selector("article[data-status=stopped]")
    assert len(await text_of(answers(page).last)) > 100
    await wire.mend()
    await ready(page)


async def test_a_server_that_was_restarted_says_so_and_the_answer_can_go_on(open_page: Open) -> None:
    if not (WEB_UI / "index.html").exists():
        pytest.skip("the web UI is not built; make setup builds it")
    with Server(REAL, ["--port", "0"]) as first:
        url = first.ready()
        page = await open_page(url)
        await ready(page)
        await long_answers(page, 1500)
        await send(page, "Tell me a story.")
        await grown(page, 150)
    await page.get_by_text("Connection lost. Reconnecting").wait_for()
    with Server(REAL, ["--port", str(urlsplit(url).port)]) as second:
        await asyncio.to_thread(second.ready)
        answer = answers(page).last
        await answer.get_by_role("alert").filter(has_text="The server was restarted").wait_for()
        kept = await text_of(answer)
        assert len(kept) > 150
        await page.unroute("**/v1/chat/completions")
        await set_parameters(page, max_tokens=8)
        await act(answer, "Continue")
        assert (await whole(answer)).startswith(kept[:100])
        assert await answer.get_by_role("alert").count() == 0


async def test_a_prompt_s_progress_shows_what_came_from_the_cache(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.evaluate(
        """() => {
            window.seen = [];
            const look = () => document.querySelectorAll(".progress p").forEach((p) => window.seen.push(p.innerText));
            new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )
    await set_parameters(page, max_tokens=4)
    begin, end = "The llama crosses the river and thinks. " * 60, "Then it sleeps on the mountain again. " * 120
    await ask(page, begin)
    await page.evaluate("window.seen = []")
    await page.get_by_role("button", name="New chat").click()
    await ask(page, begin + end)
    seen = await page.evaluate("window.seen")
    shares = [re.search(r"Reading the prompt, \d+%.*?([1-9]\d*)% from the cache", line, re.S) for line in seen]
    assert any(share and int(share[1]) < 60 for share in shares), seen
