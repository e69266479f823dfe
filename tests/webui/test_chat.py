"""Chatting in the web UI: what is asked, answered, stopped, edited and reloaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .conftest import Open
from .steps import act, answers, ask, endless, grown, questions, ready, send, set_parameters, text_of, whole

if TYPE_CHECKING:
    from playwright.async_api import Route

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_question_is_answered_and_the_next_one_knows_the_first(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "My name is Ada. Please remember it.")
    await ask(page, "What is my name?")
    assert "Ada" in await answers(page).last.inner_text()
    assert await questions(page).all_inner_texts() == ["My name is Ada. Please remember it.", "What is my name?"]
    assert await page.locator(".cost").last.is_visible()
    assert "from the cache" in await answers(page).last.inner_text()


async def test_an_answer_can_be_stopped_and_continued(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await endless(page)
    await send(page, "Tell me a story.")
    await grown(page, 150)
    await page.get_by_role("button", name="Stop").click()
    answer = answers(page).last
    await page.wait_for_selector("article[data-status=stopped]")
    stopped = await answer.locator(".markdown").last.text_content() or ""
    await page.unroute("**/v1/chat/completions")
    await set_parameters(page, max_tokens=8)
    await act(answer, "Continue")
    await page.wait_for_selector("article[data-role=assistant][data-status=done]")
    continued = await answer.locator(".markdown").last.text_content() or ""
    assert len(continued) > len(stopped)
    assert continued.startswith(stopped.strip()[:100])
    assert await answers(page).count() == 1


async def test_versions_of_an_answer_are_paged_through(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await set_parameters(page, temperature=2)
    await ask(page, "Tell me a story.")
    await act(answers(page).last, "Regenerate")
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    second = await whole(answers(page).last)
    await act(answers(page).last, "Previous version")
    await page.get_by_role("img", name="Version 1 of 2").wait_for()
    await act(answers(page).last, "Next version")
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    assert await text_of(answers(page).last) == second


async def test_an_edited_question_begins_a_branch_and_keeps_the_old_one(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "What is 2 + 3?")
    await ask(page, "What is 4 + 4?")
    first = page.locator("article[data-role=user]").first
    await act(first, "Edit")
    await first.get_by_role("textbox", name="Edit").fill("What is 1 + 1?")
    await first.get_by_role("button", name="Send").click()
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    await whole(answers(page).last)
    assert await questions(page).all_inner_texts() == ["What is 1 + 1?"]
    await act(page.locator("article[data-role=user]").first, "Previous version")
    await page.get_by_role("img", name="Version 1 of 2").wait_for()
    assert await questions(page).all_inner_texts() == ["What is 2 + 3?", "What is 4 + 4?"]


async def test_what_a_reader_has_opened_stays_while_the_conversation_goes_on(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "What is 2 + 3?")
    question = page.locator("article[data-role=user]").first
    await act(question, "Edit")
    await question.get_by_role("textbox", name="Edit").fill("What is 1 + 1?")
    await page.evaluate("""() => {
        window.fewest = Infinity;
        const count = () => (window.fewest = Math.min(window.fewest, document.querySelectorAll("article").length));
        new MutationObserver(count).observe(document.body, { childList: true, subtree: true });
    }""")
    await endless(page)
    await send(page, "Tell me a story.")
    await grown(page, 50)
    assert await page.evaluate("window.fewest") >= 2, "what was there has not gone away in between"
    assert await question.get_by_role("textbox", name="Edit").input_value() == "What is 1 + 1?"
    again = question.get_by_role("button", name="Send")
    assert await again.is_disabled(), "one answer at a time"
    await page.get_by_role("button", name="Stop").click()
    await page.wait_for_selector("article[data-status=stopped]")
    await page.unroute("**/v1/chat/completions")
    await again.click()
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    await whole(answers(page).last)
    assert await questions(page).all_inner_texts() == ["What is 1 + 1?"]


async def test_a_question_whose_answer_was_deleted_can_be_asked_again(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "What is 2 + 3?")
    page.on("dialog", lambda dialog: dialog.accept())
    await act(answers(page).last, "Delete")
    await answers(page).last.wait_for(state="detached")
    await act(page.locator("article[data-role=user]").last, "Ask again")
    assert await whole(answers(page).last)
    assert await questions(page).all_inner_texts() == ["What is 2 + 3?"]
    assert await page.get_by_role("button", name="Ask again").count() == 0


async def test_an_edit_that_is_given_up_leaves_the_focus_where_it_was(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await ask(page, "What is 2 + 3?")
    answer = answers(page).last
    await act(answer, "Edit")
    await page.keyboard.press("Escape")
    await page.wait_for_function("() => document.activeElement.ariaLabel === 'Edit'")
    await page.keyboard.press("Enter")
    await answer.get_by_role("textbox", name="Edit").wait_for()


async def test_a_conversation_survives_a_reload(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    answer = await ask(page, "What is the capital of France?")
    await page.reload()
    await ready(page)
    assert await whole(answers(page).last) == answer
    assert await questions(page).all_inner_texts() == ["What is the capital of France?"]


async def test_an_answer_goes_on_through_a_reload_in_mid_stream(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await endless(page)
    await send(page, "Tell me a story.")
    await grown(page, 150)
    before = (await answers(page).last.locator(".markdown").last.text_content() or "").strip()
    await page.reload()
    await grown(page, 2 * len(before))
    after = await answers(page).last.locator(".markdown").last.text_content() or ""
    assert after.startswith(before[:100])
    await page.get_by_role("button", name="Stop").click()
    await page.wait_for_selector("article[data-status=stopped]")


async def test_thoughts_and_tool_calls_are_steps_of_their_own(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    call = {"index": 0, "id": "1", "function": {"name": "get_weather", "arguments": '{"city":'}}
    deltas = [
        {"reasoning_content": "The user asks "},
        {"reasoning_content": "for the weather."},
        {"content": "I look it up."},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ' "Paris"}'}}]},
    ]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="text/event-stream", body=stream)

    await page.route("**/v1/chat/completions", answer)
    await send(page, "How is the weather in Paris?")
    message = answers(page).last
    assert await whole(message) == "I look it up."
    thought = message.locator("details", has_text="Thought for")
    assert await thought.get_attribute("open") is None, "folded once the answer begins"
    await thought.locator("summary").click()
    assert "The user asks for the weather." in await thought.inner_text()
    step = message.locator("details", has_text="Called get_weather")
    await step.locator("summary").click()
    assert json.loads(await step.locator("pre").inner_text()) == {"city": "Paris"}


async def test_a_refused_request_says_why(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await set_parameters(page, samplers="nonsense")
    await send(page, "Hello!")
    error = answers(page).last.get_by_role("alert")
    await error.wait_for()
    assert "samplers" in await error.inner_text() or "nonsense" in await error.inner_text()
