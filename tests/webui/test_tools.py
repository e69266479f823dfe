"""Tools in the browser: written, tried, called by the model, and kept from everything else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import Open
from .steps import act, answers, ready, send, whole

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
NESTED = """
const code = "fetch('SERVER/v1/models').then(() => postMessage('fetched'), () => postMessage('blocked'))";
const worker = new Worker(URL.createObjectURL(new Blob([code])));
return new Promise((resolve) => { worker.onmessage = ({ data }) => resolve(data); });
"""
SERVER_TOOL = {
    "tool": "read_file",
    "display_name": "Read file",
    "permissions": {"write": True},
    "definition": {
        "type": "function",
        "function": {"name": "read_file", "description": "Reads a file.", "parameters": NOTHING},
    },
}


async def open_tools(page: Page) -> None:
    await ready(page)
    await page.get_by_role("link", name="Workbench").click()
    await page.get_by_role("link", name="Tools", exact=True).click()
    await page.get_by_role("heading", name="Tools", exact=True).wait_for()


async def new_tool(page: Page, name: str, code: str) -> None:
    await page.get_by_role("button", name="New tool").click()
    await page.get_by_role("textbox", name="Name").fill(name)
    await page.get_by_role("textbox", name="Code").fill(code)


async def tried(page: Page, arguments: str = "{}") -> Locator:
    """What the tool that is edited gives."""
    await page.get_by_label("Arguments (JSON)").fill(arguments)
    await page.get_by_role("button", name="Run", exact=True).click()
    result = page.locator(".result")
    await page.get_by_role("button", name="Run", exact=True).and_(page.locator(":enabled")).wait_for()
    await result.wait_for()
    return result


async def calls_first(page: Page, **more: Any) -> list[dict[str, Any]]:
    """Make the model call a tool in its first answer, and none after; returns the bodies of the requests."""
    bodies: list[dict[str, Any]] = []

    async def choose(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        bodies.append(body)
        choice = "required" if len(bodies) == 1 else "none"
        await route.continue_(post_data=json.dumps(body | {"tool_choice": choice, "max_tokens": 200} | more))

    await page.route("**/v1/chat/completions", choose)
    return bodies


async def test_a_tool_is_written_tried_kept_and_removed(open_page: Open) -> None:
    page = await open_page()
    await open_tools(page)
    await page.get_by_role("button", name="New tool").click()
    await page.get_by_text("The name needs 1 to 64 letters").wait_for()
    await page.get_by_role("textbox", name="Name").fill("add")
    await page.get_by_text("There is no code yet").wait_for()
    await page.get_by_role("textbox", name="Code").fill("return { sum: args.a + args.b };")
    assert json.loads(await (await tried(page, '{"a": 2, "b": 3}')).inner_text()) == {"sum": 5}
    assert "not a JSON object" in await (await tried(page, "[1")).inner_text()
    await page.reload()
    switch = page.get_by_role("switch", name="Offer add to the model")
    await switch.wait_for()
    assert await switch.is_checked()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Delete add").click()
    await page.get_by_text("There are no tools yet").wait_for()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("return await (await fetch('SERVER/v1/models')).text();", "TypeError: Failed to fetch"),
        ("return await (await fetch('https://example.invalid/')).text();", "TypeError: Failed to fetch"),
        ("importScripts('SERVER/theme.js'); return 1;", "NetworkError"),
        ("return new Promise((_, fail) => { new WebSocket('ws://127.0.0.1:9').onerror = () => fail('no'); });", "no"),
        ("return typeof document + typeof window + typeof localStorage;", "undefinedundefinedundefined"),
        ("return new Promise((ok, fail) => { indexedDB.open('llamahttp').onsuccess = () => ok('open'); });", "Error"),
        ("return (await caches.keys()).length;", "caches is not defined"),
        (NESTED, "blocked"),
        ("throw new RangeError('too far');", "RangeError: too far"),
        ("return }", "SyntaxError"),
    ],
)
async def test_a_tool_reaches_nothing(open_page: Open, code: str, said: str) -> None:
    page = await open_page(may_fail=True)
    requests: list[str] = []
    await open_tools(page)
    await new_tool(page, "evil", code.replace("SERVER", page.url.split("/#")[0]))
    page.context.on("request", lambda request: requests.append(request.url))
    assert said in await (await tried(page)).inner_text()
    assert not [url for url in requests if "example.invalid" in url or "/v1/" in url or "theme.js" in url]


async def test_a_tool_that_does_not_end_is_ended(open_page: Open) -> None:
    page = await open_page()
    await open_tools(page)
    await new_tool(page, "endless", "for (;;) {}")
    assert "did not end in time" in await (await tried(page)).inner_text()
    assert await page.locator("iframe").count() == 0
    await page.get_by_role("textbox", name="Code").fill("return 'still here';")
    assert await (await tried(page)).inner_text() == "still here"


async def test_the_model_calls_a_tool_and_goes_on_with_its_result(open_page: Open) -> None:
    page = await open_page()
    await open_tools(page)
    await new_tool(page, "current_city", "return { city: 'Paris' };")
    await page.get_by_role("link", name="Back to chat").click()
    bodies = await calls_first(page)
    await send(page, "Where am I?")
    await whole(answers(page).nth(1))
    step = answers(page).first.locator("details[data-result=done]")
    await step.locator("summary").click()
    assert "Paris" in await step.inner_text()
    assert [tool["function"]["name"] for tool in bodies[0]["tools"]] == ["current_city"]
    call, result = bodies[1]["messages"][-2:]
    assert result["role"] == "tool" and json.loads(result["content"]) == {"city": "Paris"}
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]
    await page.reload()
    await ready(page)
    await answers(page).first.locator("details[data-result=done]").wait_for()


async def test_a_fault_of_a_tool_is_told_to_the_model(open_page: Open) -> None:
    page = await open_page()
    await open_tools(page)
    await new_tool(page, "broken", "throw new Error('out of order');")
    await page.get_by_role("link", name="Back to chat").click()
    bodies = await calls_first(page)
    await send(page, "Use it.")
    await whole(answers(page).nth(1))
    await answers(page).first.locator("details[data-result=error]").wait_for()
    assert bodies[1]["messages"][-1]["content"] == "Error: out of order"


async def test_a_call_can_be_stopped_and_run_later(open_page: Open) -> None:
    page = await open_page()
    await open_tools(page)
    await new_tool(page, "slow", "await new Promise((resolve) => setTimeout(resolve, args.ms ?? 60000));")
    await page.get_by_role("link", name="Back to chat").click()
    await calls_first(page)
    await send(page, "Use it.")
    await answers(page).first.get_by_text("Calling slow").wait_for()
    await page.get_by_role("button", name="Stop").click()
    await page.wait_for_selector("article[data-status=stopped]")
    assert await answers(page).count() == 1
    await page.get_by_role("link", name="1 tool").click()
    await page.get_by_role("button", name="Edit slow").click()
    await page.get_by_role("textbox", name="Code").fill("return 'quick';")
    await page.get_by_role("link", name="Back to chat").click()
    await act(answers(page).first, "Run the calls")
    await whole(answers(page).nth(1))
    assert "quick" in (await answers(page).first.locator("details[data-result=done]").text_content() or "")


async def test_the_server_s_tools_are_offered_and_asked_about(open_page: Open) -> None:
    page = await open_page()
    called: list[dict[str, Any]] = []

    async def serve(route: Route) -> None:
        if route.request.method == "GET":
            await route.fulfill(json=[SERVER_TOOL])
        else:
            called.append(route.request.post_data_json)
            await route.fulfill(json={"plain_text_response": "the text of the file"})

    await page.route("**/tools", serve)
    await open_tools(page)
    await page.get_by_role("switch", name="Offer read_file to the model").check()
    await page.get_by_role("link", name="Back to chat").click()
    bodies = await calls_first(page)
    asked: list[str] = []

    async def allow(dialog: Any) -> None:
        asked.append(dialog.message)
        await dialog.accept()

    page.on("dialog", allow)
    await send(page, "Read it.")
    await whole(answers(page).nth(1))
    assert "read_file" in asked[0]
    assert called[0]["tool"] == "read_file"
    assert bodies[1]["messages"][-1]["content"] == "the text of the file"


async def test_a_server_without_tools_says_so(open_page: Open) -> None:
    page = await open_page()
    await open_tools(page)
    await page.get_by_text("This server has none.").wait_for()
