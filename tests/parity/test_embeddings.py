"""Embeddings and scores beside llama-server's: every kind of model, pooling and normalisation; answers and errors.

Numbers are compared input by input. Attention computes in half precision, and what else is in the batch decides how it
is summed up: llama-server's own answers differ by up to `BATCH_NOISE` with the inputs beside them.
"""

from __future__ import annotations

import base64
import functools
import json
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models

from . import servers

TEXTS = ["hello", "a cat sat on the mat", "the quick brown fox " * 20, "x", "one two three"]
QUERY = "the cat"
BATCH_NOISE = 5e-3

CAUSAL = {"llama": models.write_llama, "llama_bpe": models.write_llama_bpe}
CAUSAL |= {"gemma3": models.write_gemma3, "mamba": models.write_mamba, "lfm2": models.write_lfm2}
CASES = [(name, pooling) for name in CAUSAL for pooling in ("none", "mean", "cls", "last")]
CASES += [("bert", pooling) for pooling in ("none", "mean", "cls", "last", "model")]
RERANKERS = {"reranker": models.write_reranker, "qwen3_reranker": models.write_qwen3_reranker}
WRITERS: dict[str, Any] = CAUSAL | RERANKERS | {"bert": models.write_bert}


@pytest.fixture(scope="module")
def open_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Both servers with a model and flags. They stay until the module is done, since several tests use each."""
    folder = tmp_path_factory.mktemp("embeddings")

    @functools.cache
    def write(name: str) -> Path:
        return Path(WRITERS[name](folder / f"{name}.gguf"))

    with ExitStack() as stack:

        @functools.cache
        def open_one(name: str, *flags: str) -> servers.Pair:
            # 2048 tokens a batch: the reference takes no input that is longer
            log = folder / f"{name}{''.join(flags)}.log"
            return stack.enter_context(servers.pair(write(name), log, ["-kvu", "-ub", "2048", "-b", "2048", *flags]))

        yield open_one


def post(url: str, path: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def both(pair: servers.Pair, path: str, body: Any) -> tuple[Any, Any]:
    (status, ours), (status_reference, reference) = post(pair.ours, path, body), post(pair.reference, path, body)
    assert (status, status_reference) == (200, 200), (ours, reference)
    return ours, reference


def assert_close(ours: Any, reference: Any) -> None:
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def shape(value: Any) -> Any:
    """A JSON value with its numbers left out, but for the number of dimensions."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return "number" if isinstance(value, float) else value


@pytest.mark.parametrize(("name", "pooling"), CASES)
def test_vectors(open_pair: Any, name: str, pooling: str) -> None:
    pair = open_pair(name, "--embeddings", *([] if pooling == "model" else ["--pooling", pooling]))
    for text in TEXTS:
        [our], [their] = both(pair, "/embeddings", {"input": text})
        assert our.keys() == their.keys()
        assert_close(our["embedding"], their["embedding"])


@pytest.mark.parametrize(
    ("name", "pooling"), [*((name, "mean") for name in CAUSAL), ("bert", "mean"), ("bert", "none")]
)
def test_several_inputs(open_pair: Any, name: str, pooling: str) -> None:
    pair = open_pair(name, "--embeddings", "--pooling", pooling)
    ours, reference = both(pair, "/embeddings", {"input": TEXTS})
    assert [each["index"] for each in ours] == [each["index"] for each in reference] == list(range(len(TEXTS)))
    for our, their in zip(ours, reference, strict=True):
        np.testing.assert_allclose(our["embedding"], their["embedding"], atol=BATCH_NOISE)


@pytest.mark.parametrize("norm", [-1, 0, 1, 2, 3, 7])
@pytest.mark.parametrize(("name", "pooling"), [("llama", "mean"), ("bert", "cls")])
def test_normalisations(open_pair: Any, name: str, pooling: str, norm: int) -> None:
    pair = open_pair(name, "--embeddings", "--pooling", pooling)
    for text in TEXTS:
        [our], [their] = both(pair, "/embedding", {"content": text, "embd_normalize": norm})
        # relative to the largest number: with 0 it is 32760
        scale = np.abs(their["embedding"]).max()
        assert_close(np.array(our["embedding"]) / scale, np.array(their["embedding"]) / scale)


INPUTS: list[Any] = ["hello", ["hello"], [5, 300, 301], [[5, 300], [301]], ["hello", [300, 301]], [5, "hello"]]


@pytest.mark.parametrize("value", INPUTS, ids=json.dumps)
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_openai_answers(open_pair: Any, name: str, value: Any) -> None:
    pair = open_pair(name, "--embeddings", "--pooling", "mean")
    ours, reference = both(pair, "/v1/embeddings", {"input": value, "model": "mine", "user": "me"})
    assert shape(ours) == shape(reference)
    for our, their in zip(ours["data"], reference["data"], strict=True):
        np.testing.assert_allclose(our["embedding"], their["embedding"], atol=BATCH_NOISE)


def test_base64(open_pair: Any) -> None:
    pair = open_pair("llama", "--embeddings", "--pooling", "mean")
    ours, reference = both(pair, "/v1/embeddings", {"input": TEXTS[1], "encoding_format": "base64"})
    assert ours["usage"] == reference["usage"]
    for our, their in zip(ours["data"], reference["data"], strict=True):
        assert our.keys() == their.keys()
        assert_close(decode(our["embedding"]), decode(their["embedding"]))


def decode(text: str) -> tuple[float, ...]:
    data = base64.b64decode(text)
    return struct.unpack(f"<{len(data) // 4}f", data)


@pytest.mark.parametrize("name", RERANKERS)
def test_scores(open_pair: Any, name: str) -> None:
    pair = open_pair(name, "--rerank")
    for text in TEXTS:
        [our], [their] = both(pair, "/rerank", {"query": QUERY, "texts": [text]})
        assert_close(our["score"], their["score"])


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize("path", ["/rerank", "/v1/reranking"])
@pytest.mark.parametrize("options", [{}, {"top_n": 2}, {"top_n": 99}, {"top_n": 0}])
def test_scores_in_jinas_shape(open_pair: Any, name: str, path: str, options: dict[str, int]) -> None:
    pair = open_pair(name, "--rerank")
    ours, reference = both(pair, path, {"query": QUERY, "documents": TEXTS, "model": "mine", **options})
    assert shape(ours) == shape(reference)


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize("options", [{}, {"return_text": True}, {"return_text": True, "top_n": 3}])
def test_scores_in_teis_shape(open_pair: Any, name: str, options: dict[str, Any]) -> None:
    pair = open_pair(name, "--rerank")
    ours, reference = both(pair, "/v1/rerank", {"query": QUERY, "texts": TEXTS, **options})
    assert shape(ours) == shape(reference)


def test_an_input_longer_than_a_batch(open_pair: Any) -> None:
    """Ours is started with small batches, where the reference refuses; what comes is what it gives with large ones."""
    long = "abc def " * 400
    small = open_pair("llama", "--embeddings", "--pooling", "mean", "-b", "256", "-ub", "64", "-c", "8192")
    large = open_pair("llama", "--embeddings", "--pooling", "mean")
    status, refused = post(small.reference, "/embeddings", {"input": long})
    assert (status, refused["error"]["message"].split(" (")[0]) == (500, "input")
    status, ours = post(small.ours, "/embeddings", {"input": long})
    assert status == 200
    assert_close(ours[0]["embedding"], post(large.reference, "/embeddings", {"input": long})[1][0]["embedding"])


SAME_ERRORS = [
    ("/embeddings", {}),
    ("/embeddings", {"input": []}),
    ("/embeddings", {"input": ""}),
    ("/v1/embeddings", {"input": ["hello", ""]}),
    ("/rerank", {"query": "x", "documents": ["y"]}),
]


@pytest.mark.parametrize(("path", "body"), SAME_ERRORS, ids=repr)
def test_errors(open_pair: Any, path: str, body: Any) -> None:
    pair = open_pair("llama_bpe", "--embeddings", "--pooling", "mean")
    assert post(pair.ours, path, body) == post(pair.reference, path, body)


def test_runtime_scales_of_adapters(llama_gguf: Path, tmp_path: Path) -> None:
    lora = models.write_lora(tmp_path / "lora.gguf")
    flags = ["-kvu", "-ub", "2048", "-b", "2048", "--embeddings", "--pooling", "mean", "--lora", str(lora)]
    found = []
    with servers.pair(llama_gguf, tmp_path / "log", flags) as pair:
        for scale in (None, 0.5, 0.0, 1.0):
            if scale is not None:
                both(pair, "/lora-adapters", [{"id": 0, "scale": scale}])
            [our], [their] = both(pair, "/embeddings", {"input": TEXTS[2]})
            assert_close(our["embedding"], their["embedding"])
            found.append(np.array(our["embedding"][0]))
    np.testing.assert_allclose(found[0], found[3], atol=1e-4)
    assert min(np.abs(found[0] - other).max() for other in found[1:3]) > 0.01


def test_without_the_flag(open_pair: Any) -> None:
    pair = open_pair("llama")
    for path in ("/embedding", "/v1/embeddings", "/rerank"):
        body = {"input": "x", "query": "x", "documents": ["y"]}
        assert post(pair.ours, path, body) == post(pair.reference, path, body)


def test_openai_wants_a_pooling(open_pair: Any) -> None:
    pair = open_pair("llama", "--embeddings", "--pooling", "none")
    assert post(pair.ours, "/v1/embeddings", {"input": "x"}) == post(pair.reference, "/v1/embeddings", {"input": "x"})


RERANK_ERRORS = [
    {"documents": ["y"]},
    {"query": 5, "documents": ["y"]},
    {"query": "x"},
    {"query": "x", "documents": []},
    {"query": "x", "documents": "y"},
    {"query": "x", "documents": [5]},
    {"query": "x", "texts": []},
]


@pytest.mark.parametrize("body", RERANK_ERRORS, ids=repr)
def test_errors_of_rerank(open_pair: Any, body: Any) -> None:
    pair = open_pair("reranker", "--rerank")
    assert post(pair.ours, "/rerank", body) == post(pair.reference, "/rerank", body)


def test_completions_are_served_beside_embeddings(open_pair: Any) -> None:
    pair = open_pair("llama", "--embeddings", "--pooling", "mean")
    ours, reference = pair.both(prompt="hello", temperature=0, n_predict=16)
    assert ours["tokens"] == reference["tokens"]


# --- on purpose not the same


@pytest.mark.parametrize(
    ("body", "reference", "message"),
    [
        ({"input": "x", "encoding_format": "hex"}, 400, "must be one of float, base64"),
        ({"input": "x", "encoding_format": 5}, 500, "'encoding_format': type must be string"),
        ({"input": "x", "embd_normalize": "a"}, 500, "'embd_normalize': type must be number"),
        ({"input": "x", "embd_normalize": -2}, 200, "'embd_normalize': Value must be between -1"),
        ({"input": "x", "dimensions": 65}, 200, "'dimensions': Value must be between 1 <= value <= 64, but got 65"),
        ({"input": None}, 500, '"input" or "content" must be provided'),
        ({"input": [[5, 5000000]]}, 400, "input 0: token 1 is 5000000"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_named(open_pair: Any, body: Any, reference: int, message: str) -> None:
    """Where llama-server blames itself (500), takes what makes no sense, or says what is not wrong."""
    pair = open_pair("llama", "--embeddings", "--pooling", "mean")
    status, answer = post(pair.ours, "/v1/embeddings", body)
    assert status == 400
    assert message in answer["error"]["message"]
    assert post(pair.reference, "/v1/embeddings", body)[0] == reference


def test_a_shorter_vector_is_normalised_again(open_pair: Any) -> None:
    """llama-server ignores `dimensions`."""
    pair = open_pair("llama", "--embeddings", "--pooling", "mean")
    ours, reference = both(pair, "/v1/embeddings", {"input": "hello", "dimensions": 8})
    whole = np.array(reference["data"][0]["embedding"])
    assert len(whole) == 64
    assert_close(ours["data"][0]["embedding"], whole[:8] / np.linalg.norm(whole[:8]))


def test_an_encoder_refuses_to_generate(open_pair: Any) -> None:
    """llama-server blames itself (500)."""
    pair = open_pair("bert", "--embeddings", "--pooling", "mean")
    status, answer = post(pair.ours, "/completion", {"prompt": "hello", "n_predict": 1})
    assert (status, answer["error"]["message"]) == (
        501,
        "This model only computes embeddings: it does not generate text",
    )
    assert post(pair.reference, "/completion", {"prompt": "hello", "n_predict": 1})[0] == 500


def test_a_query_may_name_a_placeholder(open_pair: Any) -> None:
    """llama-server puts the document into the query, too."""
    pair = open_pair("qwen3_reranker", "--rerank")
    body = {"query": "{document}", "documents": ["one two three four five six seven"]}
    ours, reference = both(pair, "/rerank", body)
    assert ours["usage"]["prompt_tokens"] < reference["usage"]["prompt_tokens"] + 7


def test_an_input_that_is_too_long_names_both_lengths(open_pair: Any) -> None:
    """A 400; llama-server blames itself (500) and calls it the physical batch."""
    pair = open_pair("bert", "--embeddings", "--pooling", "mean")
    status, answer = post(pair.ours, "/embeddings", {"input": ["x", "word " * 2100]})
    assert status == 400
    assert "exceeds the available context size (1024 tokens)" in answer["error"]["message"]
