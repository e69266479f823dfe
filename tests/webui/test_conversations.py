"""Keeping conversations: listed, searched, renamed, deleted, exported and imported; and the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Open
from .steps import answers, ask, endless, grown, questions, ready, send, set_parameters, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_conversations_are_listed_searched_renamed_and_deleted(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    for question in ("What is the capital of France?", "Tell me about llamas"):
        await page.get_by_role("button", name="New chat").click()
        await ask(page, question)
    links = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    assert await links.all_inner_texts() == ["Tell me about llamas", "What is the capital of France?"]
    await page.get_by_role("searchbox").fill("capital of")
    await links.get_by_text("llamas").wait_for(state="detached")
    assert await links.all_inner_texts() == ["What is the capital of France?"]
    await page.get_by_role("searchbox").fill("")
    await page.get_by_role("button", name="More: Tell me about llamas").click()
    await page.get_by_role("button", name="Rename").click()
    await page.get_by_role("textbox", name="Rename").fill("Animals")
    await page.keyboard.press("Enter")
    await links.get_by_text("Animals").wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="More: Animals").click()
    await page.get_by_role("navigation").get_by_role("button", name="Delete").click()
    await links.get_by_text("Animals").wait_for(state="detached")
    assert await questions(page).count() == 0, "a deleted conversation is not shown any more"


async def test_an_export_can_be_imported_in_another_browser(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    answer = await ask(page, "What is the capital of France?")
    await page.get_by_role("button", name="Settings").click()
    await page.get_by_role("tab", name="Data").click()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Export all conversations").click()
    path = tmp_path / "conversations.json"
    await (await waiting.value).save_as(path)
    assert len(json.loads(path.read_text())["conversations"]) == 1

    other = await open_page()
    await ready(other)
    await other.get_by_role("button", name="Settings").click()
    await other.get_by_role("tab", name="Data").click()
    await other.get_by_role("dialog").locator("input[type=file]").set_input_files(path)
    await other.get_by_text("1 conversation imported.").wait_for()
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{}")
    await other.get_by_role("dialog").locator("input[type=file]").set_input_files(damaged)
    await other.get_by_text("The file cannot be imported").wait_for()
    await other.get_by_role("button", name="Close").click()
    await other.get_by_role("link", name="What is the capital of France?").click()
    await answers(other).first.wait_for()
    assert answer in await answers(other).first.inner_text()


async def test_another_tab_sees_what_is_written(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    other = await page.context.new_page()
    await other.goto(page.url)
    await ready(other)
    await ask(page, "Tell me about llamas")
    await other.get_by_role("link", name="Tell me about llamas").click()
    await answers(other).first.wait_for()
    assert await answers(other).first.inner_text() == await answers(page).first.inner_text()


async def test_a_new_chat_leads_from_the_workbench_to_the_chat(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.get_by_role("link", name="Workbench").click()
    await page.get_by_role("region", name="Live").wait_for()
    await page.get_by_role("button", name="New chat").click()
    await page.get_by_role("heading", name="What can I help with?").wait_for()


async def test_a_stopped_answer_stays_stopped_though_another_tab_follows_it(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await endless(page)
    await send(page, "Tell me a story.")
    await grown(page, 100)
    other = await page.context.new_page()
    await other.goto(page.url)
    await grown(other, 100)
    await page.get_by_role("button", name="Stop").click()
    for tab in (page, other):
        await tab.wait_for_selector("article[data-status=stopped]")
        assert await answers(tab).last.get_by_role("alert").count() == 0


async def test_settings_show_the_server_s_defaults_are_sent_and_reset(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await set_parameters(page, temperature="0.25", top_k="7")
    await page.reload()
    await ready(page)
    async with page.expect_request("**/v1/chat/completions") as waiting:
        await ask(page, "Hello!")
    body = (await waiting.value).post_data_json
    assert (body["temperature"], body["top_k"]) == (0.25, 7)
    assert "top_p" not in body, "what is not set is left to the server"
    await page.get_by_role("button", name="Settings").click()
    await page.get_by_role("tab", name="Sampling").click()
    assert await page.locator("input[name=min_p]").get_attribute("placeholder") == "Server: 0.05"
    await page.get_by_role("button", name="Reset top_k").click()
    assert await page.locator("input[name=top_k]").input_value() == ""
    await page.get_by_role("button", name="Reset all").click()
    assert await page.locator("input[name=temperature]").input_value() == ""


async def test_the_theme_is_kept(open_page: Open) -> None:
    page = await open_page(color_scheme="light")
    await ready(page)
    light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.get_by_role("button", name="Settings").click()
    await page.get_by_role("radio", name="Dark").check()
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    await page.reload()
    await ready(page)
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


async def test_a_system_prompt_is_sent_with_each_question(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.get_by_role("button", name="System prompt").click()
    await page.get_by_role("textbox", name="System prompt").fill("Answer in one word.")
    async with page.expect_request("**/v1/chat/completions") as waiting:
        await ask(page, "Hello!")
    messages = (await waiting.value).post_data_json["messages"]
    assert messages[0] == {"role": "system", "content": "Answer in one word."}


async def test_a_conversation_that_another_tab_deletes_gives_way_to_a_new_one(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "Hello!")
    other = await page.context.new_page()
    await other.goto(page.url)
    await ready(other)
    await answers(other).last.wait_for()
    await other.get_by_role("textbox", name="Message").fill("Are you still there?")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="More: Hello!").click()
    await page.get_by_role("navigation").get_by_role("button", name="Delete").click()
    await answers(other).last.wait_for(state="detached")
    await other.get_by_role("heading", name="What can I help with?").wait_for()
    await other.get_by_role("textbox", name="Message").press("Enter")
    assert await whole(answers(other).last), "what was typed is kept, and asked in a new conversation"
    await page.get_by_role("link", name="Are you still there?").wait_for()


async def test_an_address_of_no_conversation_leads_to_a_new_one(open_page: Open, server: str) -> None:
    page = await open_page(f"{server}#/chat/0123")
    await ready(page)
    await page.get_by_role("heading", name="What can I help with?").wait_for()
    assert await ask(page, "Hello!")


async def test_a_name_that_was_changed_or_not_leaves_the_focus_on_its_conversation(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "Hello!")
    for key, name in (("Escape", "Hello!"), ("Enter", "Greetings")):
        await page.get_by_role("button", name="More:").click()
        await page.get_by_role("button", name="Rename").click()
        await page.get_by_role("textbox", name="Rename").fill("Greetings")
        await page.keyboard.press(key)
        await page.wait_for_function("name => document.activeElement.textContent === name", arg=name)
