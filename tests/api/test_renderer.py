from __future__ import annotations

import asyncio
import threading

from llamahttp.api.renderer import Renderer

from .conftest import Start, post, post_error

ENDLESS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
BODY = {"messages": [{"role": "user", "content": "hi"}]}


async def test_nobody_waits_for_somebody_else_s_template(start: Start) -> None:
    """It runs up to the sandbox's limit; the event loop answers others meanwhile."""
    client = await start(template=ENDLESS)
    refusal = asyncio.create_task(post_error(client, "/apply-template", BODY, 400))
    whole = await post(client, "/completion", {"prompt": "a", "n_predict": 4})
    assert whole["stop"] and not refusal.done()
    assert "takes longer than" in await refusal


async def test_what_nobody_waits_for_any_more_is_not_rendered() -> None:
    renderer, gate, done = Renderer(), threading.Event(), []
    first = asyncio.create_task(renderer.run(gate.wait))
    others = [asyncio.create_task(renderer.run(lambda: done.append(1))) for _ in range(3)]
    await asyncio.sleep(0)
    for each in others:
        each.cancel()
    await asyncio.wait(others)
    gate.set()
    assert await first
    assert await renderer.run(lambda: len(done)) == 0
    renderer.close()
