"""Sleep: a real server that unloads its model, which is a fake, and loads it again."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from process import FAKE, Server, get

FLAGS = ["--port", "0", "--sleep-idle-seconds", "1", "--metrics"]


@pytest.fixture
def url() -> Iterator[str]:
    with Server(FAKE, FLAGS, {"FAKE_STEP_S": "0.01"}) as server:
        yield server.ready()
        server.interrupt()
        status, _, err = server.end()
        assert status == 0 and "Traceback" not in err


def is_sleeping(url: str) -> bool:
    status, props = get(f"{url}/props")
    assert status == 200
    return bool(props["is_sleeping"])


def wait_for_sleep(url: str) -> None:
    deadline = time.monotonic() + 10
    while not is_sleeping(url):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def complete(url: str, n_predict: int = 2, **fields: Any) -> dict[str, Any]:
    body = {"prompt": "hello", "n_predict": n_predict} | fields
    answer = requests.post(f"{url}/completion", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_it_sleeps_answers_monitors_and_wakes_for_a_request(url: str) -> None:
    before = complete(url)
    wait_for_sleep(url)
    for path in ("/health", "/v1/health", "/props", "/models", "/v1/models", "/slots", "/lora-adapters"):
        assert get(url + path)[0] == 200, path
    assert "llamacpp:tokens_predicted_total 2.0" in requests.get(f"{url}/metrics", timeout=10).text
    assert requests.get(f"{url}/", timeout=10).status_code == 200
    assert requests.post(f"{url}/nope", timeout=10).status_code == 404
    assert requests.post(f"{url}/v1/streams/lookup", json={}, timeout=10).json() == []
    assert is_sleeping(url), "none of these wakes it"
    assert complete(url)["content"] == before["content"]
    assert not is_sleeping(url)


def test_many_who_wake_it_at_once_are_all_answered(url: str) -> None:
    wait_for_sleep(url)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(complete, [url] * 8))
    assert len({answer["content"] for answer in answers}) == 1
    wait_for_sleep(url)
    assert requests.post(f"{url}/tokenize", json={"content": "a"}, timeout=10).json() == {"tokens": [97]}


def test_it_does_not_sleep_while_it_answers(url: str) -> None:
    answer = complete(url, n_predict=200)
    assert answer["tokens_predicted"] == 200
    assert answer["timings"]["predicted_ms"] > 1500


def test_it_does_not_sleep_while_a_stream_goes_on_without_its_client(url: str) -> None:
    body = {"prompt": "hello", "n_predict": 200, "stream": True}
    with requests.post(
        f"{url}/completion", json=body, headers={"X-Conversation-Id": "a"}, stream=True, timeout=10
    ) as answer:
        next(answer.iter_lines())
    resumed = requests.get(f"{url}/v1/stream", params={"conv_id": "a"}, timeout=10)
    last = json.loads(resumed.text.strip().rpartition("data: ")[2])
    assert (last["stop"], last["tokens_predicted"]) == (True, 200)


def test_a_signal_ends_a_server_that_sleeps() -> None:
    with Server(FAKE, FLAGS) as server:
        wait_for_sleep(server.ready())
        assert server.interrupt() < 2
        status, _, err = server.end()
    assert status == 0 and "Traceback" not in err


def test_nobody_sleeps_who_was_not_told_to() -> None:
    with Server(FAKE, ["--port", "0"]) as server:
        url = server.ready()
        time.sleep(1.5)
        assert not is_sleeping(url)


@pytest.mark.parametrize("value", ["0", "-2", "x"])
def test_no_time_to_sleep(value: str) -> None:
    with Server(FAKE, ["--sleep-idle-seconds", value]) as server:
        status, _, err = server.end()
    assert status != 0 and "--sleep-idle-seconds" in err
