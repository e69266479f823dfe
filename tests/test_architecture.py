"""The page that explains the architecture names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:[\w.]+/)*[\w.]+(?:\.py|\.md|\.sh|/))`", PAGE)))
NAMES = sorted(set(re.findall(r"`(\w+)\.([A-Z]\w+)`", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_files_and_folders_are_where_the_page_says(path: str) -> None:
    places = [ROOT / path, ROOT / "llamahttp" / path, ROOT / "llamahttp" / "binding" / path]
    assert any(place.exists() for place in places)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_classes_are_in_the_modules_that_the_page_names(module: str, name: str) -> None:
    assert re.search(rf"^class {name}\b", (ROOT / "llamahttp" / f"{module}.py").read_text(), re.MULTILINE)


def test_the_page_names_much() -> None:
    assert len(PATHS) > 40
    assert NAMES
