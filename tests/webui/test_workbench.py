"""What only this server knows: slots and figures, probabilities of tokens, the vocabulary, the chat template."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .conftest import Open
from .steps import act, answers, ask, endless, ready, send, whole

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def go_to(page: Page, name: str) -> None:
    await page.get_by_role("link", name="Workbench").click()
    await page.get_by_role("link", name=name, exact=True).click()


async def test_the_live_page_shows_slots_at_work(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await endless(page)
    await send(page, "Tell me a story.")
    await page.get_by_role("link", name="Workbench").click()
    lane = page.locator(".lane[data-stage=generating]")
    await lane.wait_for()
    await lane.get_by_text("tokens/s").wait_for()
    await lane.locator(".history .generating").first.wait_for(state="attached")
    assert await lane.get_by_role("meter").get_attribute("aria-valuemax") == "4096"
    await page.locator(".chart canvas").nth(3).wait_for()
    await page.get_by_role("img", name="Time between two tokens").and_(page.locator("[aria-label*=ms]")).wait_for()
    await page.get_by_role("link", name="Back to chat").click()
    await page.get_by_role("button", name="Stop").click()
    await page.wait_for_selector("article[data-status=stopped]")


async def test_the_live_page_tells_where_prompts_came_from(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    for _ in range(2):
        await page.get_by_role("button", name="New chat").click()
        await ask(page, "The llama crosses the river, and then it thinks about the mountain.")
    await go_to(page, "Live")
    tiers = page.get_by_role("region", name="Where prompt tokens came from")
    await tiers.locator("dd", has_text="%").first.wait_for()
    rows = [await row.inner_text() for row in await tiers.locator(".rows > div").all()]
    resident = next(row for row in rows if "context memory" in row)
    assert not resident.split("\n")[-1].startswith("0 "), rows


async def test_tokens_show_their_probabilities_and_another_one_can_be_taken(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.get_by_role("button", name="Probabilities", exact=True).click()
    answer = await ask(page, "Tell me about llamas")
    message = answers(page).last
    await act(message, "Tokens and probabilities")
    tokens = message.get_by_role("option")
    await tokens.first.wait_for()
    said = message.locator("[role=option]:not(.thought)")
    shown = "".join([await token.inner_text() for token in await said.all()]).replace("↵", "")
    assert shown.split() == (await message_content(page)).split()
    n_thoughts = await message.locator("[role=option].thought").count()
    assert n_thoughts, "the model's thoughts are tokens too"
    assert "perplexity" in await message.inner_text()
    await said.first.focus()
    for _ in range(3):
        await page.keyboard.press("ArrowRight")
    assert await said.nth(3).get_attribute("aria-selected") == "true"
    assert await said.nth(3).evaluate("token => token === document.activeElement")
    alternatives = message.locator(".alternatives li")
    assert await alternatives.count() >= 8
    odds = [float((await text.inner_text()).strip("<%")) for text in await message.locator(".odds").all()]
    assert odds[:8] == sorted(odds[:8], reverse=True)

    first = [await said.nth(n).inner_text() for n in range(3)]
    await page.get_by_role("button", name="Write on with").first.click()
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    forked = await whole(answers(page).last)
    begin = "".join(first).strip()
    assert forked.startswith(begin) and answer.startswith(begin)
    assert forked[: len(begin) + 20] != answer[: len(begin) + 20]


async def message_content(page: Page) -> str:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await act(answers(page).last, "Copy")
    content: str = await page.evaluate("navigator.clipboard.readText()")
    return content


async def test_an_answer_without_probabilities_can_be_asked_for_again_with_them(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "Hello!")
    await act(answers(page).last, "Tokens and probabilities")
    await page.get_by_role("button", name="Answer again and record them").click()
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    await whole(answers(page).last)
    await act(answers(page).last, "Tokens and probabilities")
    await answers(page).last.get_by_role("option").first.wait_for()


async def test_the_tokenizer_shows_tokens_and_gives_the_text_back(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await go_to(page, "Tokenizer")
    await page.get_by_role("textbox", name="Text").fill("Hello llama<|im_end|>")
    special = page.locator(".piece.special")
    await special.wait_for()
    assert await special.inner_text() == "<|im_end|>"
    await page.get_by_text("The ids give exactly this text back.").wait_for()
    pieces = page.get_by_role("option")
    assert "".join(await pieces.all_inner_texts()) == "Hello llama<|im_end|>"
    await pieces.first.focus()
    await page.keyboard.press("ArrowRight")
    assert await pieces.nth(1).get_attribute("aria-selected") == "true"
    await page.get_by_label("Read special tokens").uncheck()
    await special.wait_for(state="detached")
    ids = (await page.get_by_role("textbox", name="Token ids").input_value()).split()
    await page.get_by_role("textbox", name="Token ids").fill(" ".join(ids[:1]))
    await page.keyboard.press("Tab")
    await pieces.nth(1).wait_for(state="detached")
    assert "Hello llama".startswith(await page.get_by_role("textbox", name="Text").input_value())
    await page.get_by_role("textbox", name="Token ids").fill("1 x")
    await page.keyboard.press("Tab")
    await page.get_by_role("alert").filter(has_text="whole numbers").wait_for()
    await page.get_by_role("textbox", name="Token ids").fill("999999")
    await page.keyboard.press("Tab")
    await page.get_by_role("alert").filter(has_text="999999").wait_for()


async def test_the_template_shows_the_prompt_with_its_special_tokens(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "What is the capital of France?")
    await go_to(page, "Template")
    marks = page.locator(".prompt mark")
    await marks.first.wait_for()
    assert set(await marks.all_inner_texts()) == {"<|im_start|>", "<|im_end|>"}
    await page.get_by_role("button", name="Take the open conversation").click()
    await page.locator(".prompt", has_text="What is the capital of France?").wait_for()
    await page.get_by_role("button", name="Sample: Tools").click()
    await page.locator(".prompt", has_text="get_weather").wait_for()
    messages = page.get_by_role("textbox", name="Messages")
    await messages.fill(json.dumps([{"role": "nobody", "content": 1}]))
    await page.get_by_role("alert").wait_for()
    await messages.fill("[")
    await page.get_by_role("alert").filter(has_text="are not JSON").wait_for()
    caps = page.get_by_role("region", name="What the template can do")
    assert "System prompt\nyes" in await caps.inner_text()
    await page.get_by_role("button", name="Template", exact=True).click()
    await page.locator(".prompt", has_text="{%").wait_for()


async def test_pages_are_reached_with_the_keyboard(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.get_by_role("link", name="Workbench").focus()
    await page.keyboard.press("Enter")
    for name in ("Tokenizer", "Template", "Tools", "Live"):
        await page.get_by_role("link", name=name, exact=True).focus()
        await page.keyboard.press("Enter")
        current = page.get_by_role("link", name=name, exact=True).and_(page.locator("[aria-current=page]"))
        await current.wait_for()


@pytest.mark.parametrize("name", ["Live", "Tokenizer", "Template", "Tools"])
async def test_pages_fit_a_phone(open_page: Open, name: str) -> None:
    page = await open_page(width=390, height=844, has_touch=True, is_mobile=True)
    await ready(page)
    await go_to(page, name)
    if name == "Tools":
        await page.get_by_role("button", name="Add current_time").click()
    await page.locator(".workbench h2").wait_for()
    await page.locator(
        {"Live": "canvas", "Tokenizer": ".piece", "Template": "mark", "Tools": ".tool"}[name]
    ).first.wait_for()
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert await page.locator("main .scroller").evaluate("scroller => scroller.scrollWidth") <= 390
