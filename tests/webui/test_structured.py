"""Answers in a form in the web UI: where it is written, what is checked, and how such answers are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import Open
from .steps import act, answers, ask, attach, close, endless, faults, ready, send, sent_by, write_answer

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMA = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
    },
    "required": ["age", "tags"],
    "additionalProperties": False,
}


async def show_format(page: Page, kind: str) -> Locator:
    await page.get_by_role("button", name="Output: ").click()
    dialog = page.get_by_role("dialog", name="Form of the answers")
    await dialog.get_by_role("radio", name=kind, exact=True).check()
    return dialog


async def apply(dialog: Locator) -> None:
    await dialog.get_by_role("button", name="Apply").click()
    await dialog.wait_for(state="detached")


async def test_a_schema_is_checked_while_it_is_typed_and_by_the_server(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    dialog = await show_format(page, "JSON Schema")
    editor = dialog.get_by_role("textbox", name="JSON Schema")
    button = dialog.get_by_role("button", name="Apply")
    assert await button.is_disabled()
    await editor.fill('{\n  "type": "object"\n  "required": []\n}')
    await dialog.get_by_text("Line 3, column 3: a comma was expected").wait_for()
    assert await dialog.locator(".numbers .wrong").inner_text() == "3"
    assert await button.is_disabled()
    await editor.fill("[1]")
    await dialog.get_by_text("A schema is an object").wait_for()
    assert await button.is_disabled()
    await editor.fill('{"type": "objekt"}')
    await button.click()
    assert "objekt" in await dialog.get_by_role("alert").inner_text(), "the server's own reason"
    await editor.fill('{"type": "object"}')
    await dialog.get_by_role("alert").wait_for(state="detached")
    await dialog.get_by_role("button", name="Tidy").click()
    assert await editor.input_value() == '{\n  "type": "object"\n}'
    await apply(dialog)
    await page.get_by_role("button", name="Output: JSON Schema").wait_for()


async def test_an_answer_follows_its_schema_and_is_shown_as_a_tree(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog = await show_format(page, "JSON Schema")
    await dialog.get_by_role("textbox", name="JSON Schema").fill(json.dumps(SCHEMA))
    await apply(dialog)
    async with sent_by(page) as body:
        await send(page, "Give me one.")
        await answers(page).last.and_(page.locator("[data-status=done]")).wait_for()
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    view = answers(page).last.get_by_role("region", name="Structured output")
    await view.get_by_text("Follows the schema", exact=True).wait_for()
    await view.get_by_role("button", name="Copy the JSON").click()
    value = json.loads(await page.evaluate("navigator.clipboard.readText()"))
    assert value.keys() == {"age", "tags"} and 2 <= len(value["tags"]) <= 3
    assert str(value["age"]) in await view.locator(".leaf", has_text='"age"').inner_text()
    tags = view.locator("details").nth(1)
    await view.get_by_role("button", name="Fold all", exact=True).click()
    assert await tags.get_attribute("open") is None
    await tags.locator("summary").click()
    assert await tags.locator(".leaf .string").first.is_visible()
    await view.get_by_role("button", name="Raw").click()
    assert json.loads(await view.locator("pre").inner_text()) == value

    # The form belongs to the conversation: it is there after a reload, and another one has none.
    await page.reload()
    await ready(page)
    await page.get_by_role("button", name="Output: JSON Schema").wait_for()
    await page.get_by_role("button", name="New chat").click()
    await page.get_by_role("button", name="Output: Text").wait_for()


async def test_an_answer_that_breaks_its_schema_says_where(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    dialog = await show_format(page, "JSON Schema")
    await dialog.get_by_role("textbox", name="JSON Schema").fill(json.dumps(SCHEMA))
    await apply(dialog)
    await send(page, "Give me one.")
    answer = answers(page).last
    await answer.and_(page.locator("[data-status=done]")).wait_for()
    for text, said in (
        ('{"age": 300, "tags": ["a", "b"]}', "#/age"),
        ('{"age": 3, "tags": ["a", "c"]}', "#/tags/1"),
        ('{"age": 3,\n "tags" []}', "Line 2, column 9: a colon was expected"),
    ):
        await act(answer, "Edit")
        await answer.get_by_role("textbox", name="Edit").fill(text)
        await answer.get_by_role("button", name="Save").click()
        await answer.locator(".verdict.wrong").wait_for()
        await answer.locator("footer").get_by_text(said).first.wait_for()


async def test_a_grammar_binds_the_answer(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    dialog = await show_format(page, "Grammar")
    editor = dialog.get_by_role("textbox", name="Grammar")
    await editor.fill("root ::= answer")
    await dialog.get_by_role("button", name="Apply").click()
    assert "answer" in await dialog.get_by_role("alert").inner_text(), "a rule that is not there"
    await editor.fill('root ::= "yes, " [a-c]{3}')
    await apply(dialog)
    await page.get_by_role("button", name="Think first").click()
    answer = await ask(page, "Do you?")
    assert answer.startswith("yes, ") and set(answer[5:]) <= set("abc") and len(answer) == 8


async def test_an_object_is_shown_while_it_is_written(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await endless(page)
    dialog = await show_format(page, "JSON Schema")
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 400}
    await dialog.get_by_role("textbox", name="JSON Schema").fill(json.dumps(numbers))
    await apply(dialog)
    await send(page, "Count.")
    answer = answers(page).last
    await answer.locator(".structured .leaf").nth(5).wait_for()
    assert await answer.get_attribute("data-status") == "writing"
    assert await answer.locator(".verdict").count() == 0, "what is not whole is neither right nor wrong"
    await page.get_by_role("button", name="Stop").click()
    await page.wait_for_selector("article[data-status=stopped]")
    await answer.locator(".verdict.wrong").wait_for()


async def test_json_is_a_tree_unasked_and_other_text_is_not(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "Hello!")
    answer = answers(page).last
    assert await answer.locator(".structured").count() == 0
    await act(answer, "Edit")
    await answer.get_by_role("textbox", name="Edit").fill(json.dumps([{"n": n} for n in range(250)]))
    await answer.get_by_role("button", name="Save").click()
    view = answer.locator(".structured")
    await view.get_by_text("Valid JSON").wait_for()
    assert await view.locator(".node .node").count() == 100
    await view.get_by_role("button", name="Show 100 more").click()
    await view.get_by_role("button", name="Show 50 more").click()
    assert await view.locator(".node .node").count() == 250


async def test_json_that_is_nested_too_deep_for_a_tree_is_shown_as_text(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "Hello!")
    answer = answers(page).last
    await act(answer, "Edit")
    await answer.get_by_role("textbox", name="Edit").fill("[" * 20_000 + "]" * 20_000)
    await answer.get_by_role("button", name="Save").click()
    await answer.locator(".structured pre").wait_for()
    await page.reload()
    await answer.locator(".structured pre").wait_for()


async def test_images_of_the_web_are_links_and_those_in_the_answer_are_shown(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    answer = await write_answer(page, f"![a llama](https://example.invalid/llama.png)\n\n![a dot]({pixel})")
    link = answer.get_by_role("link", name="a llama")
    assert await link.get_attribute("href") == "https://example.invalid/llama.png"
    assert "noreferrer" in (await link.get_attribute("rel") or "")
    assert await answer.get_by_role("img", name="a dot").evaluate("image => image.decode().then(() => image.width)")
    assert not [url for url in requests if "example.invalid" in url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault_in_forms_and_attachments(
    open_page: Open, scheme: str, tmp_path: Path
) -> None:
    page = await open_page(color_scheme=scheme, width=390, height=844)
    await ready(page)
    (tmp_path / "notes.txt").write_text("Wool is warm.")
    (tmp_path / "program").write_bytes(b"\0")
    await attach(page, tmp_path / "notes.txt")
    await page.locator(".composer input[type=file]").set_input_files(tmp_path / "program")
    await page.locator(".composer").get_by_role("alert").wait_for()
    assert await faults(page) == []
    await page.get_by_role("button", name="Show notes.txt").click()
    await page.locator("pre.preview").wait_for()
    assert await faults(page) == []
    await close(page)
    dialog = await show_format(page, "JSON Schema")
    await dialog.get_by_role("textbox", name="JSON Schema").fill('{"type":}')
    assert await faults(page) == []
    await dialog.get_by_role("textbox", name="JSON Schema").fill(json.dumps(SCHEMA))
    await apply(dialog)
    await send(page, "Give me one.")
    await answers(page).last.get_by_text("Follows the schema").wait_for()
    assert await faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
