from __future__ import annotations

import asyncio

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
