"""Adapters give the tokens that they give with llama-server: LoRAs by scale, activated ones, control vectors."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from process import get

from .. import models
from . import servers
from .servers import Pair

INVOCATION = (307, 308, 307)
BEFORE = [300 + i * 7 % 600 for i in range(150)]
"""More than one physical batch."""

PROMPTS: dict[str, list[int]] = {
    "without an invocation": BEFORE,
    "half an invocation": [*BEFORE, *INVOCATION[:2], 400],
    "invoked at the end": [*BEFORE, *INVOCATION],
    "invoked before a question": [*BEFORE, *INVOCATION, 500, 501, 502],
    "invoked twice": [*BEFORE[:40], *INVOCATION, *BEFORE[40:], *INVOCATION, 500],
    "invoked at once": [*INVOCATION, *BEFORE],
    "invoked after a token": [400, *INVOCATION, *BEFORE],
    "invoked after two tokens": [400, 401, *INVOCATION, *BEFORE],
}
PLAIN, ACTIVATED, OTHER = 0, 1, 2


@pytest.fixture(scope="module")
def adapted(llama_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers with a LoRA and two activated ones, all of which a request has to ask for."""
    folder = tmp_path_factory.mktemp("adapters")
    loras = [
        models.write_lora(folder / "plain.gguf"),
        models.write_lora(folder / "activated.gguf", scale=3.0, invocation=INVOCATION),
        models.write_lora(folder / "other.gguf", scale=2.0, invocation=(309,)),
    ]
    flags = ["--lora-scaled", ",".join(f"{path}:0" for path in loras)]
    with servers.pair(llama_gguf, folder / "log", flags) as both:
        yield both


def tokens(pair: Pair, **body: Any) -> list[int]:
    """The greedy tokens of both, which are the same."""
    ours, reference = pair.both(**{"temperature": 0, "n_predict": 32} | body)
    assert ours["tokens"] == reference["tokens"]
    found: list[int] = ours["tokens"]
    return found


def lora(*scales: tuple[int, float]) -> list[dict[str, float]]:
    return [{"id": id_adapter, "scale": scale} for id_adapter, scale in scales]


@pytest.mark.parametrize("scale", [0.25, 1.0, -2.0])
def test_a_lora_by_its_scale(adapted: Pair, scale: float) -> None:
    plain = tokens(adapted, prompt=BEFORE)
    assert tokens(adapted, prompt=BEFORE, lora=lora((PLAIN, scale))) != plain


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_an_activated_lora(adapted: Pair, prompt: list[int]) -> None:
    activated = tokens(adapted, prompt=prompt, lora=lora((ACTIVATED, 1.0)))
    is_invoked = any(tuple(prompt[i : i + len(INVOCATION)]) == INVOCATION for i in range(len(prompt)))
    assert (activated != tokens(adapted, prompt=prompt)) == is_invoked


def test_an_activated_lora_beside_a_plain_one(adapted: Pair) -> None:
    both = lora((PLAIN, 0.5), (ACTIVATED, 1.0))
    for prompt in (PROMPTS["without an invocation"], PROMPTS["invoked before a question"]):
        assert tokens(adapted, prompt=prompt, lora=both) != tokens(adapted, prompt=prompt, lora=lora((PLAIN, 0.5)))


def test_what_was_computed_before_the_invocation_is_reused(adapted: Pair) -> None:
    """Also by the next turn, which has other tokens behind it; and by requests without the adapter."""
    first = [*BEFORE, *INVOCATION, 500, 501]
    second = [*BEFORE, *INVOCATION, 600, 601]
    asked = [(first, [(ACTIVATED, 1.0)]), (second, [(ACTIVATED, 1.0)]), (first, []), (second, [(ACTIVATED, 2.0)])]
    for i, (prompt, scales) in enumerate(asked):
        body = {"prompt": prompt, "lora": lora(*scales), "temperature": 0, "n_predict": 32}
        warm = servers.complete(adapted.ours, **body, cache_prompt=True, cache_salt="turns")
        assert warm["tokens"] == tokens(adapted, **body)
        if i > 0:
            assert warm["timings"]["cache_n"] >= len(BEFORE) - 1


def test_what_is_told_of_activated_loras(adapted: Pair) -> None:
    (status, ours), reference = (get(f"{url}/lora-adapters") for url in (adapted.ours, adapted.reference))
    assert (status, ours) == reference
    assert ours[ACTIVATED]["alora_invocation_tokens"] == list(INVOCATION)
    assert "alora_invocation_tokens" not in ours[PLAIN]


def test_two_activated_loras_are_refused_alike(adapted: Pair) -> None:
    body = {"prompt": PROMPTS["invoked at the end"], "lora": lora((ACTIVATED, 1.0), (OTHER, 1.0))}
    for url in (adapted.ours, adapted.reference):
        with pytest.raises(urllib.error.HTTPError) as caught:
            servers.complete(url, **body)
        with caught.value as error:
            assert error.code == 400
            assert json.load(error)["error"]["message"] == "Cannot run multiple aLoRAs in a single request"


@pytest.mark.parametrize("layers", [(), ("1", "1"), ("2", "3")])
def test_control_vectors(tmp_path: Path, layers: tuple[str, ...]) -> None:
    shape = replace(models.TINY, n_layers=4)
    model = models.write_llama(tmp_path / "deep.gguf", shape)
    one = models.write_control_vector(tmp_path / "one.gguf", shape, layers=(1, 3), seed=1)
    two = models.write_control_vector(tmp_path / "two.gguf", shape, layers=(2, 3), seed=2)
    flags = ["--control-vector", str(one), "--control-vector-scaled", f"{two}:-0.5"]
    flags += ["--control-vector-layer-range", *layers] if layers else []
    with servers.reference(model, tmp_path / "plain.log") as url:
        plain = [servers.complete(url, prompt=p, temperature=0, n_predict=32)["tokens"] for p in PROMPTS.values()]
    with servers.pair(model, tmp_path / "log", flags) as pair:
        steered = [tokens(pair, prompt=prompt) for prompt in PROMPTS.values()]
    assert all(tokens != others for tokens, others in zip(steered, plain, strict=True))
