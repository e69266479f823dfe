from __future__ import annotations

from pathlib import Path

import pytest
from yarl import URL

from llamahttp.api.files import PLAIN, find
from llamahttp.config import ASSETS, HttpConfig

from .conftest import Start

KEYS = frozenset({"key"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>hello")
    (root / "app.js").write_text("0123456789")
    (root / "sub" / "index.html").write_text("<p>sub")
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    return root


# --- the plain page

NO_WEB_UI = HttpConfig(web_ui=Path("none"))


@pytest.mark.parametrize("path", PLAIN)
async def test_the_page_needs_no_key_and_takes_nothing_from_elsewhere(start: Start, path: str) -> None:
    client = await start(api_keys=KEYS, http=NO_WEB_UI)
    async with client.get(path) as response:
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read() == (ASSETS / PLAIN[path]).read_bytes()


async def test_the_plain_page_says_what_is_missing(start: Start) -> None:
    client = await start(http=NO_WEB_UI)
    async with client.get("/") as response:
        assert "make setup" in await response.text()


async def test_other_files_are_not_served(start: Start) -> None:
    client = await start()
    for path in ("/demo.gguf", "/page.js/../demo.gguf", "/assets/demo.gguf"):
        async with client.get(path) as response:
            assert response.status == 404


async def test_the_page_can_be_switched_off(start: Start) -> None:
    client = await start(http=HttpConfig(ui=False))
    for path in PLAIN:
        async with client.get(path) as response:
            assert response.status == 404
    async with client.get("/props") as response:
        assert (await response.json())["ui"] is False


@pytest.mark.parametrize("ui", [True, False])
async def test_the_service_worker_of_another_page_is_replaced(start: Start, ui: bool) -> None:
    client = await start(api_keys=KEYS, http=HttpConfig(ui=ui))
    async with client.get("/sw.js") as response:
        assert "javascript" in response.content_type
        assert "unregister()" in await response.text()


# --- the web UI


@pytest.fixture
def web_ui(tmp_path: Path) -> Path:
    root = tmp_path / "webui"
    (root / "assets").mkdir(parents=True)
    for name in ("index.html", "theme.js", "assets/index-1a2b.js"):
        (root / name).write_text(name)
        (root / f"{name}.br").write_text(f"br of {name}")
    (root / ".key").write_text("secret")
    (root / "assets" / "font-1a2b.woff2").write_bytes(b"font")
    return root


@pytest.mark.parametrize("prefix", ["", "/llama"])
async def test_the_web_ui_takes_the_plain_page_s_place(start: Start, web_ui: Path, prefix: str) -> None:
    client = await start(api_keys=KEYS, http=HttpConfig(web_ui=web_ui, api_prefix=prefix))
    for path, content, caching in (
        ("/", "index.html", "no-cache"),
        ("/theme.js", "theme.js", "no-cache"),
        ("/assets/index-1a2b.js", "assets/index-1a2b.js", "immutable"),
        ("/assets/font-1a2b.woff2", "font", "immutable"),
    ):
        async with client.get(prefix + path, headers={"Accept-Encoding": "identity"}) as response:
            assert (response.status, await response.text()) == (200, content)
            assert caching in response.headers["Cache-Control"]
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
    for path in ("/page.js", "/.key", "/index.html.br", "/assets/", "/assets/../.key", "/assets/none.js"):
        async with client.get(URL(prefix + path, encoded=True), headers={"X-Api-Key": "key"}) as response:
            assert response.status == 404, path


async def test_the_web_ui_is_sent_compressed_to_browsers_that_take_it_so(start: Start, web_ui: Path) -> None:
    client = await start(http=HttpConfig(web_ui=web_ui))
    async with client.request(
        "GET", "/assets/index-1a2b.js", headers={"Accept-Encoding": "gzip, br"}, auto_decompress=False
    ) as response:
        assert response.headers["Content-Encoding"] == "br"
        assert "javascript" in response.content_type
        assert await response.read() == b"br of assets/index-1a2b.js"


async def test_a_web_ui_that_is_built_anew_is_served_at_once(start: Start, web_ui: Path) -> None:
    client = await start(api_keys=KEYS, http=HttpConfig(web_ui=web_ui))
    (web_ui / "assets" / "index-1a2b.js").rename(web_ui / "assets" / "index-3c4d.js")
    fresh = web_ui / "fresh.html"
    fresh.write_text("built anew")
    fresh.replace(web_ui / "index.html")
    for path, status in (("/", 200), ("/assets/index-3c4d.js", 200), ("/assets/index-1a2b.js", 401)):
        async with client.get(path) as response:
            assert response.status == status, path
    async with client.get("/assets/index-1a2b.js", headers={"X-Api-Key": "key"}) as response:
        assert response.status == 404


async def test_a_tool_of_the_reader_gets_a_frame_of_its_own(start: Start, web_ui: Path) -> None:
    (web_ui / "sandbox.html").write_text("sandbox")
    client = await start(http=HttpConfig(web_ui=web_ui))
    async with client.get("/sandbox.html") as response:
        policy = response.headers["Content-Security-Policy"]
        assert "sandbox allow-scripts" in policy and "allow-same-origin" not in policy
        assert "default-src 'none'" in policy and "connect-src" not in policy


# --- a directory


async def test_a_directory_takes_the_page_s_place(start: Start, root: Path) -> None:
    client = await start(http=HttpConfig(static_path=root))
    for path, content, kind in (
        ("/", b"<p>hello", "text/html"),
        ("/index.html", b"<p>hello", "text/html"),
        ("/app.js", b"0123456789", "javascript"),
        ("/sub/", b"<p>sub", "text/html"),
    ):
        async with client.get(path) as response:
            assert (response.status, await response.read()) == (200, content)
            assert kind in response.content_type
    async with client.get("/sub", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (308, "/sub/")
    async with client.get("/page.js") as response:
        assert response.status == 404
    async with client.get("/health") as response:
        assert await response.json() == {"status": "ok"}, "routes come first"


async def test_parts_heads_and_unchanged_files(start: Start, root: Path) -> None:
    client = await start(http=HttpConfig(static_path=root))
    async with client.get("/app.js", headers={"Range": "bytes=2-4"}) as response:
        assert (response.status, await response.read()) == (206, b"234")
        assert response.headers["Content-Range"] == "bytes 2-4/10"
    async with client.get("/app.js", headers={"Range": "bytes=20-"}) as response:
        assert response.status == 416
    async with client.head("/app.js") as response:
        assert (response.status, response.headers["Content-Length"], await response.read()) == (200, "10", b"")
        etag = response.headers["ETag"]
    async with client.get("/app.js", headers={"If-None-Match": etag}) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../../secret",
        "/..%2fsecret",
        "/link",
        "/.//etc/passwd",
        "/app.js/",
        "/a%00b",
        f"/{'a' * 300}",
    ],
)
async def test_nothing_else_is_served(start: Start, root: Path, path: str) -> None:
    client = await start(http=HttpConfig(static_path=root))
    async with client.get(URL(path, encoded=True)) as response:
        assert response.status == 404, await response.text()
        assert (await response.json())["error"]["type"] == "not_found_error"


def test_what_a_path_means(root: Path) -> None:
    assert find(root, "") == root / "index.html"
    assert find(root, "sub") == root / "sub"
    for path in ("/sub", "/app.js", "../secret", "/../secret", "link", "sub/../../secret", "a\0", "none"):
        assert find(root, path) is None


async def test_a_key_protects_all_of_a_directory_but_its_index_as_with_llama_server(start: Start, root: Path) -> None:
    client = await start(api_keys=KEYS, http=HttpConfig(static_path=root))
    for path, status in (("/", 200), ("/index.html", 200), ("/app.js", 401), ("/sub/", 401)):
        async with client.get(path) as response:
            assert response.status == status


# --- a prefix


async def test_everything_is_behind_the_prefix(start: Start) -> None:
    client = await start(api_keys=KEYS, http=HttpConfig(api_prefix="/llama"))
    for path, status in (("/llama/health", 200), ("/llama/", 200), ("/llama/v1/models", 401)):
        async with client.get(path) as response:
            assert response.status == status, path
    for path in ("/health", "/v1/models", "/", "/llama/llama/health"):
        async with client.get(path, headers={"X-Api-Key": "key"}) as response:
            assert response.status == 404, path
    body = {"prompt": "a", "n_predict": 1}
    async with client.post("/llama/completion", json=body, headers={"X-Api-Key": "key"}) as response:
        assert response.status == 200
