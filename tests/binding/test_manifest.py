"""Manifest: whatever is wrong with a build is one sentence that names it and says what helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from .loading import LOAD, change_manifest, python


def test_without_a_library_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    where = tmp_path / "none"
    assert python(LOAD, where).stdout == (
        f"LibraryError: libllama is not built: {where} does not exist; "
        "run ./build_lib.sh to build the library for this machine and version\n"
    )


def test_a_folder_that_is_no_build_is_named(tmp_path: Path) -> None:
    assert f"LibraryError: {tmp_path} holds no finished build (no manifest.json)" in python(LOAD, tmp_path).stdout


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"abi": {}}', '{"abi": 1, "cpu": {}, "llama_cpp": {}}', "\xff"]
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    said = python(LOAD, tmp_path).stdout
    assert said.startswith("LibraryError: ")
    assert str(tmp_path / "manifest.json") in said


def test_a_manifest_with_odd_tables_is_another_version(copied: Path) -> None:
    change_manifest(copied, lambda manifest: manifest["abi"].update(functions=[], llama_batch=5))
    assert "does not match the declarations of this llamahttp" in python(LOAD, copied).stdout


def test_a_library_of_another_version_names_both_sides(copied: Path) -> None:
    def move(manifest: dict[str, dict[str, object]]) -> None:
        manifest["llama_cpp"].update(version="b9999", source="elsewhere")
        manifest["abi"]["llama_context_params"] = {"sizeof": 8}

    change_manifest(copied, move)
    said = python(LOAD, copied).stdout
    assert said.startswith("LibraryError: libllama b9999 (elsewhere) does not match")
    assert "llama_context_params.n_ctx" in said
