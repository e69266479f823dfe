"""The web UI's settings: all sampling parameters, presets, further request fields, and what the server's owner sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import Open
from .steps import ask, close, ready, sent_by, set_parameters, show_settings

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOT_SAMPLING = {
    "stream",
    "n_predict",  # max_tokens
    "n_discard",
    "n_probs",
    "post_sampling_probs",
    "timings_per_token",
    "lora",
    "reasoning_format",
    "reasoning_in_content",
    "generation_prompt",
    "chat_format",
    "speculative.types",
}
"""What `/props` tells besides sampling parameters."""


async def test_every_sampling_parameter_has_an_input_with_the_server_s_default(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    params = (await page.evaluate("fetch('props').then(r => r.json())"))["default_generation_settings"]["params"]
    await show_settings(page, "Sampling")
    panel = page.get_by_role("tabpanel")
    inputs = panel.locator("input[name], select[name]")
    names = set(await inputs.evaluate_all("inputs => inputs.map(({ name }) => name)"))
    assert params.keys() - NOT_SAMPLING <= names
    await panel.get_by_text("Choose among this many tokens").wait_for()
    for name in names:
        described = await panel.locator(f"#about-{name}").inner_text()
        assert described and "Another name" not in described, name
    assert await panel.locator("input[name=mirostat_tau]").get_attribute("placeholder") == "Server: 5"
    assert await panel.locator("select[name=ignore_eos] option").first.inner_text() == "Server: off"


async def test_parameters_of_every_kind_are_sent(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await set_parameters(page, stop='["zebra", "\\n\\n\\n"]', logit_bias='{"17": -1}', samplers="top_k temperature")
    await show_settings(page, "Sampling")
    await page.locator("select[name=ignore_eos]").select_option("off")
    await close(page)
    async with sent_by(page) as body:
        await ask(page, "Hello!")
    assert body["stop"] == ["zebra", "\n\n\n"]
    assert body["logit_bias"] == {"17": -1}
    assert body["samplers"] == ["top_k", "temperature"]
    assert body["ignore_eos"] is False


async def test_further_fields_are_checked_while_they_are_typed_and_sent(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await show_settings(page, "Sampling")
    field = page.get_by_role("textbox", name="Further request fields")
    await field.fill('{"cache_prompt": false,\n "n_keep" 2}')
    await page.get_by_text("Line 2, column 11: a colon was expected").wait_for()
    assert await field.get_attribute("aria-invalid") == "true"
    await field.fill('["cache_prompt"]')
    await page.get_by_text("This is not a JSON object.").wait_for()
    await field.fill('{"cache_prompt": false}')
    await page.get_by_text("Valid JSON").wait_for()
    await close(page)
    await page.reload()
    await ready(page)
    async with sent_by(page) as body:
        await ask(page, "Hello!")
    assert body["cache_prompt"] is False


async def test_presets_are_saved_used_renamed_exported_and_deleted(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    page.on("dialog", lambda dialog: dialog.accept())
    await save_preset(page, "Precise", temperature="0.1", system="Answer in one word.")
    await save_preset(page, "Wild", temperature="1.7", system="Answer with a poem.")
    rows = page.locator(".presets li")
    await show_settings(page, "Presets")
    assert await rows.locator("strong").all_inner_texts() == ["Precise", "Wild"]
    assert "In use" in await rows.nth(1).inner_text()
    await rows.nth(0).get_by_role("button", name="Use Precise").click()
    assert "In use" in await rows.nth(0).inner_text()
    await close(page)
    async with sent_by(page) as body:
        await ask(page, "Hello!")
    assert body["temperature"] == 0.1
    assert body["messages"][0] == {"role": "system", "content": "Answer in one word."}

    # The conversation that is shown takes the next preset's prompt.
    await page.get_by_role("combobox", name="Preset").select_option("Wild")
    async with sent_by(page) as body:
        await ask(page, "And now?")
    assert (body["temperature"], body["messages"][0]["content"]) == (1.7, "Answer with a poem.")

    await show_settings(page, "Presets")
    await rows.nth(0).get_by_role("button", name="Rename Precise").click()
    await rows.nth(0).get_by_role("textbox", name="Rename").fill("Terse")
    await page.keyboard.press("Enter")
    await rows.locator("strong").get_by_text("Terse").wait_for()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Export presets").click()
    path = tmp_path / "presets.json"
    await (await waiting.value).save_as(path)
    assert [preset["name"] for preset in json.loads(path.read_text())["presets"]] == ["Terse", "Wild"]
    await rows.filter(has_text="Wild").get_by_role("button", name="Delete Wild").click()
    await rows.locator("strong").get_by_text("Wild").wait_for(state="detached")
    await page.reload()
    await ready(page)
    await show_settings(page, "Presets")
    assert await rows.locator("strong").all_inner_texts() == ["Terse"]
    chooser = page.get_by_role("dialog").locator("input[type=file]")
    await chooser.set_input_files(path)
    await page.get_by_text("2 presets imported.").wait_for()
    assert await rows.locator("strong").all_inner_texts() == ["Terse", "Wild"]
    path.write_text("{}")
    await chooser.set_input_files(path)
    await page.get_by_text("The file holds no presets.").wait_for()


async def save_preset(page: Page, name: str, *, temperature: str, system: str) -> None:
    await set_parameters(page, temperature=temperature)
    await show_settings(page, "General")
    await page.get_by_role("textbox", name="System prompt of new conversations").fill(system)
    await page.get_by_role("tab", name="Presets").click()
    await page.get_by_role("textbox", name="Name of the new preset").fill(name)
    await page.get_by_role("button", name="Save current settings").click()
    await close(page)


async def test_the_server_s_owner_sets_defaults_and_the_reader_others(open_page: Open, configured: str) -> None:
    page = await open_page(configured, color_scheme="light")
    await ready(page)
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    async with sent_by(page) as body:
        await ask(page, "Hello!")
    assert (body["temperature"], body["samplers"]) == (0.4, ["top_k", "temperature"])
    assert body["messages"][0]["content"] == "Be brief."
    await show_settings(page, "Sampling")
    field = page.locator("input[name=temperature]")
    assert await field.get_attribute("placeholder") == "Server: 0.4"
    assert await field.input_value() == ""
    await field.fill("0.9")
    await page.keyboard.press("Tab")
    await page.get_by_role("tab", name="General").click()
    assert await page.get_by_role("spinbutton", name="Characters from which").input_value() == "300"
    await page.get_by_role("radio", name="Light").check()
    await close(page)
    await page.reload()
    await ready(page)
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    async with sent_by(page) as body:
        await ask(page, "Hello!")
    assert (body["temperature"], body["samplers"]) == (0.9, ["top_k", "temperature"])
    page.on("dialog", lambda dialog: dialog.accept())
    await show_settings(page, "General")
    await page.get_by_role("button", name="Reset all settings").click()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.get_by_role("tab", name="Sampling").click()
    assert await field.input_value() == ""


async def test_settings_reach_another_tab(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    other = await page.context.new_page()
    await other.goto(page.url)
    await ready(other)
    await set_parameters(page, temperature="0.25")
    await set_parameters(other, top_k="7")
    async with sent_by(other) as body:
        await ask(other, "Hello!")
    assert (body["temperature"], body["top_k"]) == (0.25, 7)
