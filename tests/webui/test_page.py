"""The page itself: nothing that a model writes runs, everybody can use it, and it is there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .conftest import KEY, Open
from .steps import act, answers, ask, faults, ready, whole, write_answer

if TYPE_CHECKING:
    from playwright.async_api import Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = r"""
<script>window.ran = 1</script>
<img src=x onerror="window.ran = 1">
<svg onload="window.ran = 1"><a xlink:href="javascript:window.ran = 1">x</a></svg>
<iframe srcdoc="<script>parent.ran = 1</script>"></iframe>
[a link](javascript:window.ran=1) [data](data:text/html,<script>window.ran=1</script>)
![image](https://example.invalid/pixel.png) ![x](x" onerror="window.ran=1)

$\href{javascript:window.ran=1}{x}$ $$\htmlData{x=1}{\includegraphics{https://example.invalid/a.png}}$$

```html"><img src=x onerror=window.ran=1>
<img src=x onerror="window.ran = 1"><script>window.ran = 1</script>
```

| a | b |
|---|---|
| <b onclick="window.ran = 1">x</b> | `<script>` |

The end.
"""
MAX_BYTES = 400_000
MAX_SHIFT = 0.1
"""What Lighthouse calls good; 0 where nothing jumps."""
VITALS = """async () => {
    const entries = (type) => new Promise((resolve) => {
        new PerformanceObserver((list) => resolve(list.getEntries())).observe({ type, buffered: true });
        setTimeout(resolve, 500, []);
    });
    const [largest, shifts, tasks] = await Promise.all(
        ["largest-contentful-paint", "layout-shift", "longtask"].map(entries));
    const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter((entry) => /\\/(assets\\/.*|theme.js|)$/.test(new URL(entry.name).pathname));
    return {
        paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
        largest: largest.at(-1)?.startTime ?? 0,
        shift: shifts.reduce((sum, { value }) => sum + value, 0),
        blocked: tasks.reduce((sum, { duration }) => sum + Math.max(0, duration - 50), 0),
        bytes: loaded.reduce((sum, { transferSize }) => sum + transferSize, 0),
        files: loaded.length,
    };
}"""
"""What Lighthouse looks at, in milliseconds and bytes."""


async def test_nothing_that_a_model_writes_runs(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    answer = await write_answer(page, HOSTILE)
    await answer.get_by_text("The end.").wait_for()
    for link in await answer.locator(".markdown a").all():
        await link.evaluate("link => link.removeAttribute('target')")
        await link.click(no_wait_after=True, modifiers=["Control"])
    await page.wait_for_timeout(300)
    assert await page.evaluate("window.ran") is None
    assert await answer.locator("script, iframe, svg[onload], .markdown img, [onerror], [onclick]").count() == 0
    for target in await answer.locator(".markdown a").evaluate_all("links => links.map(link => link.href)"):
        assert target.startswith(("https://", "http://")), target
    assert not [url for url in requests if url.startswith("https://example.invalid/a.png")]


async def test_markdown_code_and_mathematics_are_laid_out(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = "# Title\n\n```python\ndef f(): pass\n```\n\n| a |\n|--:|\n| 1 |\n\n- [x] done\n\n"
    answer = await write_answer(page, text + "$$x^2$$ costs $5 and $6, and $y_1$.")
    await answer.locator(".katex").nth(1).wait_for()
    await answer.locator(".hljs-keyword").first.wait_for()
    assert "costs $5 and $6" in await answer.inner_text()
    cell = answer.locator("table td")
    assert await cell.inner_text() == "1"
    assert await cell.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    assert await answer.get_by_role("listitem").inner_text() == "☑ done"
    await answer.locator(".code").get_by_role("button", name="Copy").click()
    await answer.get_by_role("button", name="Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == "def f(): pass\n"


async def test_a_key_is_asked_for_and_kept(open_page: Open, guarded: str) -> None:
    page = await open_page(guarded)
    field = page.get_by_role("textbox", name="API key")
    await field.fill("wrong")
    await page.keyboard.press("Enter")
    await page.get_by_text("does not accept this key").wait_for()
    await field.fill(KEY)
    await page.keyboard.press("Enter")
    await ready(page)
    await ask(page, "Hello!")
    await page.reload()
    await ready(page)
    await answers(page).first.wait_for()


async def test_a_phone_shows_everything_without_scrolling_sideways(open_page: Open) -> None:
    page = await open_page(width=390, height=844, has_touch=True, is_mobile=True)
    await ready(page)
    await write_answer(page, "| a | b | c |\n|---|---|---|\n| " + "wide " * 30 + "| 2 | 3 |\n\n" + "x" * 300)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert await page.evaluate("document.querySelector('.scroller').scrollWidth") <= 390
    await page.get_by_role("button", name="Show conversations").click()
    await page.get_by_role("link", name="Hello!").click()
    await page.get_by_role("navigation").wait_for(state="detached")
    await page.get_by_role("button", name="Settings").click()
    box = await page.get_by_role("dialog").bounding_box()
    assert box is not None and box["width"] == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault(open_page: Open, scheme: str) -> None:
    page = await open_page(color_scheme=scheme)
    await ready(page)
    assert await faults(page) == []
    await write_answer(
        page, "# Title\n\n`code`\n\n```python\nx = 1  # one\n```\n\n| a |\n|---|\n| 1 |\n\n$x$ [a](https://a.b)"
    )
    assert await faults(page) == []
    await page.get_by_role("button", name="Settings").click()
    for tab in ("General", "Sampling", "Presets", "Data"):
        await page.get_by_role("tab", name=tab).click()
        assert await faults(page) == []
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("link", name="Workbench").click()
    await page.get_by_text("Slot 0").wait_for()
    assert await faults(page) == []
    await page.get_by_role("link", name="Tokenizer").click()
    await page.get_by_text("The ids give exactly this text back.").wait_for()
    assert await faults(page) == []
    await page.get_by_role("link", name="Template", exact=True).click()
    await page.locator(".prompt mark").first.wait_for()
    assert await faults(page) == []
    await page.get_by_role("link", name="Tools", exact=True).click()
    await page.get_by_role("button", name="Add calculate").click()
    assert await faults(page) == []
    await page.get_by_role("link", name="Back to chat").click()
    await page.get_by_role("button", name="Probabilities", exact=True).click()
    await act(answers(page).last, "Regenerate")
    await page.get_by_role("img", name="Version 2 of 2").wait_for()
    await whole(answers(page).last)
    await act(answers(page).last, "Tokens and probabilities")
    await answers(page).last.get_by_role("option").first.click()
    assert await faults(page) == []


async def test_everything_can_be_done_with_the_keyboard(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    assert await page.evaluate("document.activeElement.ariaLabel") == "Message"
    await page.keyboard.type("Hello!")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("How are you?")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("article[data-role=assistant][data-status=done]")
    assert await page.locator(".bubble").inner_text() == "Hello!\nHow are you?"
    await page.keyboard.press("Control+Shift+O")
    await page.get_by_role("heading", name="What can I help with?").wait_for()


async def test_the_page_is_light_and_does_not_jump(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    found = await page.evaluate(VITALS)
    print(
        f"first paint {found['paint']:.0f} ms, largest {found['largest']:.0f} ms, blocked {found['blocked']:.0f} ms, "
        f"layout shift {found['shift']:.4f}, {found['bytes'] / 1000:.0f} kB in {found['files']} files"
    )
    assert found["bytes"] < MAX_BYTES
    assert found["shift"] < MAX_SHIFT


async def test_a_page_whose_server_was_updated_meanwhile_is_loaded_anew(open_page: Open) -> None:
    page = await open_page(may_fail=True)
    await ready(page)
    missing: list[str] = []

    async def miss(route: Route) -> None:
        missing.append(route.request.url)
        await route.fulfill(status=404, body="")

    await page.route("**/assets/Workbench*.js", miss, times=1)
    await page.get_by_role("link", name="Workbench").click()
    await page.get_by_text("Slot 0").wait_for()
    assert len(missing) == 1
