"""What the engine is asked for: from the fields of a request to its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamahttp.api.completion import salt
from llamahttp.api.state import STATE
from llamahttp.config import EngineConfig
from llamahttp.task import CompletionTask
from tests.fakes import FakeSamplerFactory

from .conftest import Client, Recorder, Start, get, post, post_error, recorder

LORAS = ((Path("a.gguf"), 0.5), (Path("b.gguf"), 0.0), (Path("c.gguf"), 2.0))
ROUTES = [
    ("/completion", {"prompt": "ab"}),
    ("/v1/completions", {"prompt": "ab"}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "ab"}]}),
]


async def task_of(client: Client, path: str = "/completion", key: str = "", **body: Any) -> CompletionTask:
    """The task that a request becomes."""
    headers = {"Authorization": f"Bearer {key}"}
    async with client.post(path, json={"prompt": "ab", "n_predict": 1} | body, headers=headers) as response:
        assert response.status == 200, await response.text()
    return recorder(client).tasks[-1]


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_every_route_passes_on_how_a_task_runs(start: Start, path: str, body: dict[str, Any]) -> None:
    client = await start(around=Recorder)
    wanted = {"cache_prompt": False, "n_cache_reuse": 9, "n_keep": -1, "n_discard": 3, "id_slot": 2, "priority": -5}
    task = await task_of(client, path, cache_salt="mine", **body, **wanted)
    assert {name: getattr(task, name) for name in wanted} == wanted
    assert (task.salt, task.adapters) == ("mine", ())


async def test_a_request_that_says_nothing_gets_the_server_s_defaults(start: Start) -> None:
    client = await start(around=Recorder, cache_prompt=False, n_cache_reuse=7, n_keep=4)
    task = await task_of(client)
    assert (task.cache_prompt, task.n_cache_reuse, task.n_keep) == (False, 7, 4)
    task = await task_of(client, cache_prompt=True, n_cache_reuse=0, n_keep=0)
    assert (task.cache_prompt, task.n_cache_reuse, task.n_keep) == (True, 0, 0)
    client = await start(around=Recorder)
    task = await task_of(client)
    plain = CompletionTask(task.prompt)
    names = ("cache_prompt", "n_cache_reuse", "n_keep", "n_discard", "id_slot", "priority", "salt", "adapters", "turns")
    assert [getattr(task, name) for name in names] == [getattr(plain, name) for name in names]


async def test_several_answers_to_one_prompt_share_what_they_ask_for(start: Start) -> None:
    client = await start(around=Recorder)
    await task_of(client, n=3, seed=5, cache_salt="mine")
    tasks = recorder(client).tasks
    assert [task.salt for task in tasks] == ["mine"] * 3
    assert [task.sampling.seed for task in tasks] == [5, 6, 7]


async def test_salt_by_key_keeps_the_owners_of_keys_apart(start: Start) -> None:
    client = await start(around=Recorder, api_keys=frozenset({"key-1", "key-2"}), salt_by_key=True)
    first, again, salted, other = [
        (await task_of(client, key=key, cache_salt=cache_salt)).salt
        for key, cache_salt in [("key-1", ""), ("key-1", ""), ("key-1", "x"), ("key-2", "")]
    ]
    assert first == again
    assert len({first, salted, other}) == 3
    assert not any("key-" in text for text in (first, salted, other)), "salts are written to disk"


async def test_without_salt_by_key_keys_share(start: Start) -> None:
    client = await start(around=Recorder, api_keys=frozenset({"key-1", "key-2"}))
    assert (await task_of(client, key="key-1")).salt == (await task_of(client, key="key-2")).salt == ""


def test_a_salt_cannot_be_made_to_look_like_another_key_s() -> None:
    assert salt("b", "a") != salt("", "ab")
    assert salt(salt("", "a"), "b") != salt("", "a")
    assert salt("", "\udcff") != salt("", "?"), "headers may hold any byte"


# --- adapters


@pytest.mark.parametrize(
    ("lora", "adapters"),
    [
        (None, ((0, 0.5), (2, 2.0))),
        ([], ((0, 0.5), (2, 2.0))),
        ([{"id": 1, "scale": 1}], ((1, 1.0),)),
        ([{"id": 2, "scale": -0.5}, {"id": 0, "scale": 1}], ((0, 1.0), (2, -0.5))),
        ([{"id": 1, "scale": 1}, {"id": 1, "scale": 2}], ((1, 2.0),)),
        ([{"id": 0, "scale": 0}], ()),
        ([{"id": 0}], ()),
    ],
)
async def test_adapters_of_a_request(start: Start, lora: object, adapters: object) -> None:
    client = await start(around=Recorder, engine=EngineConfig(loras=LORAS))
    assert (await task_of(client, lora=lora)).adapters == adapters


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ([{"id": 3, "scale": 1}], "[0].id': there is no adapter with the id 3; the number of adapters is 3"),
        ([{"id": -1, "scale": 1}], "[0].id': there is no adapter with the id -1; the number of adapters is 3"),
        ([{"id": 0, "scale": 1}, {"scale": 1}], "[1].id': type must be number, but is null"),
        ([{"id": "a", "scale": 1}], "[0].id': type must be number, but is string"),
        ([{"id": 0, "scale": "1"}], "[0].scale': type must be number, but is string"),
        ([{"id": 0, "scale": 1e39}], "[0].scale': Value must be finite as a 32-bit float, but got 1e+39"),
        ([5], "[0]': type must be object, but is number"),
    ],
)
async def test_wrong_adapters(start: Start, lora: object, message: str) -> None:
    client = await start(around=Recorder, engine=EngineConfig(loras=LORAS))
    assert await post_error(client, "/completion", {"prompt": "a", "lora": lora}) == f"Field 'lora{message}"
    assert await post_error(client, "/lora-adapters", lora) == f"Field '{message}"
    assert recorder(client).tasks == []


async def test_no_adapters_have_no_ids(client: Client) -> None:
    message = await post_error(client, "/completion", {"prompt": "a", "lora": [{"id": 0, "scale": 1}]})
    assert message == "Field 'lora[0].id': there is no adapter with the id 0; the number of adapters is 0"


async def test_adapters_that_wait_to_be_applied(start: Start) -> None:
    """llama-server applies them all the same."""
    client = await start(around=Recorder, engine=EngineConfig(loras=LORAS, lora_init_without_apply=True))
    assert [entry["scale"] for entry in await get(client, "/lora-adapters")] == [0.0, 0.0, 0.0]
    assert (await task_of(client)).adapters == ()
    assert (await task_of(client, lora=[{"id": 2, "scale": 0.5}])).adapters == ((2, 0.5),)
    await post(client, "/lora-adapters", [{"id": 1, "scale": 2}])
    assert (await task_of(client)).adapters == ((1, 2.0),)


async def test_the_server_s_scales_can_be_changed(start: Start) -> None:
    client = await start(around=Recorder, engine=EngineConfig(loras=LORAS))
    assert await post(client, "/lora-adapters", [{"id": 1, "scale": 0.25}]) == {"success": True}
    shown = await get(client, "/lora-adapters")
    assert [(entry["id"], entry["path"], entry["scale"]) for entry in shown] == [
        (0, "a.gguf", 0.0),
        (1, "b.gguf", 0.25),
        (2, "c.gguf", 0.0),
    ]
    assert shown[0].keys() == {"id", "path", "scale", "task_name", "prompt_prefix"}
    assert (await task_of(client)).adapters == ((1, 0.25),)
    assert "must be an array" in await post_error(client, "/lora-adapters", {})


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_what_takes_long_to_sample_is_prepared_before_the_task_is_submitted(
    start: Start, path: str, body: dict[str, Any]
) -> None:
    client = await start()
    samplers: FakeSamplerFactory = client.app[STATE].engine._samplers  # type: ignore[union-attr, assignment]
    await post(client, path, {"n_predict": 1, **body})
    assert samplers.prepared == []
    await post(client, path, {"n_predict": 1, "dry_multiplier": 0.7, "seed": 5, **body})
    assert [params.dry_multiplier for params in samplers.prepared] == [0.7]
    assert samplers.prepared[0] == samplers.opened[-1].params
