"""The ABI check: a library of another version is one sentence, not a corrupted struct."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from llamahttp.binding import abi, manifest
from llamahttp.errors import LibraryError


@pytest.fixture(scope="session")
def built() -> dict[str, dict[str, Any]]:
    """What the compiler made of the headers of the library in use."""
    table: dict[str, dict[str, Any]] = manifest.read(manifest.directory())["abi"]
    return table


def test_our_declarations_are_what_the_compiler_made_of_the_headers(built: dict[str, dict[str, Any]]) -> None:
    assert abi.declared() == built
    assert abi.differences(built) == []


def move_field(table: dict[str, dict[str, Any]]) -> str:
    table["llama_context_params"]["n_batch"] = [8, 4]
    return r"llama_context_params\.n_batch is \[8, 4\] in the library's headers and \[4, 4\] in llamahttp"


def widen_field(table: dict[str, dict[str, Any]]) -> str:
    table["llama_model_params"]["vocab_only"] = [72, 4]
    return r"llama_model_params\.vocab_only is \[72, 4\] .* and \[72, 1\]"


def grow_struct(table: dict[str, dict[str, Any]]) -> str:
    table["llama_batch"]["sizeof"] = 64
    return r"llama_batch\.sizeof is 64 .* and 56"


def change_signature(table: dict[str, dict[str, Any]]) -> str:
    table["functions"]["llama_decode"] = "i32(ptr,ptr)"
    return r"functions\.llama_decode is i32\(ptr,ptr\) .* and i32\(ptr,struct56\)"


def change_constant(table: dict[str, dict[str, Any]]) -> str:
    table["constants"]["GGML_LOG_LEVEL_ERROR"] = 5
    return r"constants\.GGML_LOG_LEVEL_ERROR is 5 .* and 4"


def lose_function(table: dict[str, dict[str, Any]]) -> str:
    del table["functions"]["llama_decode"]
    return r"functions\.llama_decode is missing from the library's headers"


def lose_struct(table: dict[str, dict[str, Any]]) -> str:
    del table["llama_token_data"]
    return r"llama_token_data\.id is missing .* \(and 3 more differences\)"


CHANGES = [move_field, widen_field, grow_struct, change_signature, change_constant, lose_function, lose_struct]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_library_of_another_version_is_one_error_that_names_both(
    built: dict[str, dict[str, Any]], change: Callable[[dict[str, dict[str, Any]]], str]
) -> None:
    other = copy.deepcopy(built)
    expected = change(other)
    other_build = {"llama_cpp": {"version": "b9999", "source": "elsewhere"}, "abi": other}
    with pytest.raises(LibraryError, match=expected) as caught:
        manifest.check_abi(other_build)
    assert "libllama b9999 (elsewhere) does not match" in str(caught.value)
    assert "build_lib.sh" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_library_has_in_addition_does_not_matter(built: dict[str, dict[str, Any]]) -> None:
    other = copy.deepcopy(built)
    other["functions"]["llama_new_feature"] = "void()"
    other["llama_new_struct"] = {"sizeof": 8}
    assert abi.differences(other) == []
