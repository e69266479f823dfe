"""docs/api.md and docs/coverage.md are what the tables of routes and parameters say today."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from llamahttp.api.openapi import document
from llamahttp.api.routes import ROUTES

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script() -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return runpy.run_path(str(ROOT / "scripts" / "write_api_docs.py"))
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize("name", ["api", "coverage"])
def test_the_page_is_current(script: Any, name: str) -> None:
    written = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert written == script[name](), "run scripts/write_api_docs.py"


def test_the_readme_counts_the_same(script: Any) -> None:
    shown = script["BETWEEN"].search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown, "README.md has no place for it"
    assert shown[0] == script["summary"](), "run scripts/write_api_docs.py"


def test_every_route_and_parameter_is_on_the_page(script: Any) -> None:
    page = script["api"]()
    for route in ROUTES:
        assert all(f"`{path}`" in page for path in route.paths)
    for methods in document(ROUTES)["paths"].values():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for name in content.get("application/json", {}).get("schema", {}).get("properties", {}):
            assert f"`{name}`" in page


def test_links_lead_somewhere(script: Any) -> None:
    page = script["api"]()
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in page.split("\n")}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings


def test_what_is_not_effective_has_a_reason(script: Any) -> None:
    rows = [*script["route_rows"](), *script["parameter_rows"]()]
    assert [row for row in rows if row[2] not in ("served", "effective") and not row[3]] == []
    # what llama-server takes and ours ignores is its own only
    ignored = {(where, name.strip("`")) for where, name, state, _ in rows if state == "ignored"}
    internal = ("grammar_type", "chat_format", "chat_parser", "parse_tool_calls", "message_delimiters")
    assert ignored == {("/completion", name) for name in (*internal, "continue_final_message")}
