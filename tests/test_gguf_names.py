"""GGUF names: which file of a repository a quant means, and what belongs to it."""

from __future__ import annotations

import pytest

from llamahttp.gguf_names import GGUFName, all_parts, find_mmproj, find_model, models, quants, read_name

REPO = [
    "README.md",
    "model-IQ2_M.gguf",
    "model-Q4_K_M.gguf",
    "Q6_K/model-Q6_K-00001-of-00002.gguf",
    "Q6_K/model-Q6_K-00002-of-00002.gguf",
    "mmproj-model-f16.gguf",
    "imatrix.gguf",
    "model.imatrix-Q4_K_M.gguf",
]


@pytest.mark.parametrize(
    ("path", "name", "quant"),
    [
        ("a/m-Q4_K_M.gguf", GGUFName("a/m-Q4_K_M", 1, 1), "Q4_K_M"),
        ("m.q8_0.gguf", GGUFName("m.q8_0", 1, 1), "Q8_0"),
        ("m-F16-00002-of-00003.gguf", GGUFName("m-F16", 2, 3), "F16"),
        ("model.gguf", GGUFName("model", 1, 1), ""),
    ],
)
def test_a_name_is_taken_apart(path: str, name: GGUFName, quant: str) -> None:
    assert read_name(path) == name
    assert name.quant == quant


def test_what_is_no_gguf_has_no_such_name() -> None:
    assert read_name("model.bin") is None


@pytest.mark.parametrize(
    ("quant", "found"),
    [
        ("", "model-Q4_K_M.gguf"),
        ("q6_k", "Q6_K/model-Q6_K-00001-of-00002.gguf"),
        ("IQ2_M", "model-IQ2_M.gguf"),
        ("Q5_K", None),
        ("Q4.K.M", None),
    ],
)
def test_a_quant_finds_its_file(quant: str, found: str | None) -> None:
    assert find_model(REPO, quant) == found


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["a-F16.gguf", "a-Q8_0.gguf"], "a-Q8_0.gguf"),
        (["mmproj-a.gguf", "a-F16.gguf", "a-BF16.gguf"], "a-F16.gguf"),
        (["a-F16-00002-of-00002.gguf", "a-F16-00001-of-00002.gguf"], "a-F16-00001-of-00002.gguf"),
        (["mmproj-a.gguf"], None),
        ([], None),
    ],
)
def test_without_a_quant_there_is_an_order(paths: list[str], found: str | None) -> None:
    assert find_model(paths, "") == found


def test_what_lies_beside_a_model_is_none() -> None:
    assert models(REPO) == REPO[1:4]
    assert quants(REPO) == ["IQ2_M", "Q4_K_M", "Q6_K"]


def test_parts_of_a_path_or_url() -> None:
    assert all_parts("http://x/m-00002-of-00003.gguf") == [f"http://x/m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert all_parts("m.gguf") == ["m.gguf"]
    assert all_parts("m.bin") == ["m.bin"]


def test_the_projector_is_found_beside_or_above() -> None:
    assert find_mmproj(REPO, "model-Q4_K_M.gguf") == "mmproj-model-f16.gguf"
    assert find_mmproj(REPO, "Q6_K/model-Q6_K-00001-of-00002.gguf") == "mmproj-model-f16.gguf"
    assert find_mmproj(["b/mmproj.gguf", "mmproj.gguf"], "b/m.gguf") == "b/mmproj.gguf"
    assert find_mmproj(["b/mmproj.gguf"], "a/m.gguf") is None
