from __future__ import annotations

import pytest

from llamahttp.api.page import ASSETS, FILES

from .conftest import Start


@pytest.mark.parametrize("path", FILES)
async def test_the_page_needs_no_key_and_takes_nothing_from_elsewhere(start: Start, path: str) -> None:
    client = await start(api_keys=frozenset({"key"}))
    async with client.get(path) as response:
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read() == (ASSETS / FILES[path]).read_bytes()


async def test_other_files_are_not_served(start: Start) -> None:
    client = await start()
    for path in ("/demo.gguf", "/page.js/../demo.gguf", "/assets/demo.gguf"):
        async with client.get(path) as response:
            assert response.status == 404
