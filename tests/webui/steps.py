"""What a reader does, and what stands on the page then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Route


async def ready(page: Page) -> None:
    await page.wait_for_selector("[data-health=ready]")


async def send(page: Page, text: str) -> None:
    await page.get_by_role("textbox", name="Message").fill(text)
    await page.keyboard.press("Enter")


async def ask(page: Page, text: str) -> str:
    """Send a question and wait for the whole answer; returns its text."""
    n_answers = await answers(page).count()
    await send(page, text)
    return await whole(answers(page).nth(n_answers))


async def whole(answer: Locator) -> str:
    await answer.and_(answer.page.locator("[data-status=done]")).wait_for()
    return await text_of(answer)


async def text_of(answer: Locator) -> str:
    parts = answer.locator(":scope > .markdown")
    return (await parts.inner_text()).strip() if await parts.count() else ""


async def grown(page: Page, length: int) -> None:
    """Wait until the last answer has more than `length` characters."""
    answer = answers(page).last
    await answer.locator(".markdown").last.wait_for()
    for _ in range(400):
        if len(await answer.locator(".markdown").last.inner_text()) > length:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the answer has not grown to {length} characters")


async def endless(page: Page) -> None:
    """Make answers long: what the model says ends nothing."""

    async def go_on(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}") | {"ignore_eos": True, "max_tokens": 1500}
        await route.continue_(post_data=json.dumps(body))

    await page.route("**/v1/chat/completions", go_on)


def answers(page: Page) -> Locator:
    return page.locator("article[data-role=assistant]")


def questions(page: Page) -> Locator:
    return page.locator("article[data-role=user] .bubble")


async def act(message: Locator, name: str) -> None:
    """Press one of a message's buttons."""
    await message.hover()
    await message.get_by_role("button", name=name, exact=True).click()


async def show_settings(page: Page, tab: str) -> None:
    await page.get_by_role("button", name="Settings", exact=True).click()
    await page.get_by_role("tab", name=tab).click()


async def close(page: Page) -> None:
    await page.get_by_role("button", name="Close", exact=True).click()
    await page.get_by_role("dialog").wait_for(state="detached")


async def set_parameters(page: Page, **values: Any) -> None:
    await show_settings(page, "Sampling")
    for name, value in values.items():
        await page.locator(f"input[name={name}]").fill(str(value))
    await page.keyboard.press("Tab")
    await close(page)


async def write_answer(page: Page, text: str) -> Locator:
    """An answer that says `text`: the model's own one, corrected."""
    await ask(page, "Hello!")
    answer = answers(page).last
    await act(answer, "Edit")
    await answer.get_by_role("textbox", name="Edit").fill(text)
    await answer.get_by_role("button", name="Save").click()
    await answer.locator(".markdown").last.wait_for()
    return answer


async def attach(page: Page, path: Path) -> None:
    """Choose a file, and wait until it is read."""
    chips = page.locator(".composer .file")
    count = await chips.count()
    await page.locator(".composer input[type=file]").set_input_files(path)
    await chips.nth(count).wait_for()


@asynccontextmanager
async def sent_by(page: Page) -> AsyncIterator[dict[str, Any]]:
    """The body of the request for an answer that is made within; filled in when that ends."""
    body: dict[str, Any] = {}
    async with page.expect_request("**/v1/chat/completions") as waiting:
        yield body
    body.update((await waiting.value).post_data_json)


async def set_modalities(page: Page, **can: bool) -> None:
    """Have the server say that its model takes more than text. For pages that are loaded from now on."""

    async def say(route: Route) -> None:
        response = await route.fetch()
        props = await response.json()
        await route.fulfill(response=response, json=props | {"modalities": props["modalities"] | can})

    await page.route("**/props", say)


async def faults(page: Page) -> list[str]:
    """What axe finds wrong with the page for somebody who does not see it or has no mouse."""
    from axe_playwright_python.async_playwright import Axe

    results = await Axe().run(page)
    found = results.response["violations"]
    serious = (fault for fault in found if fault["impact"] in ("serious", "critical"))
    return [f"{fault['id']}: {[node['html'] for node in fault['nodes']]}" for fault in serious]
