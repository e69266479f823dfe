"""Chats over HTTP with locust: as many users as wanted, each asking again as soon as it was answered.

    pip install locust
    locust -f bench/locustfile.py --headless -u 16 -r 16 -t 60s -H http://127.0.0.1:8080 --points locust.json
    python bench/traffic.py locust.json

Without `--headless` there is a page to start it from, with plots, at http://localhost:8089. Rows of locust's own table:
`chat` is a whole answer, `first token` and `between tokens` (the mean of an answer) are parts of it, in milliseconds.
"""

from __future__ import annotations

import json
import random
import string
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, TextIO

from locust import HttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--n-predict", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--prompt-words", type=int, default=50, help="random words before the question")
    parser.add_argument("--api-key", default="", help="sent as a bearer token")
    parser.add_argument("--model-name", default="any", help="model, as requests name it")
    parser.add_argument("--points", default="", help="file for what traffic.py reads")


class Points:
    """A file of measurements in the lines that k6 writes with `--out json`."""

    def __init__(self) -> None:
        self._file: TextIO | None = None

    def open(self, path: str) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115  # closed when the test stops

    def add(self, metric: str, value: float) -> None:
        if self._file is not None:
            now = datetime.now(timezone.utc).isoformat()
            point = {"type": "Point", "metric": metric, "data": {"time": now, "value": value, "tags": {}}}
            self._file.write(json.dumps(point) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


points = Points()


@events.test_start.add_listener
def open_points(environment: Environment, **_: object) -> None:
    if environment.parsed_options.points:
        points.open(environment.parsed_options.points)


@events.quit.add_listener
def close_points(**_: object) -> None:
    points.close()


class ChatUser(HttpUser):
    """One who reads an answer as it comes, and asks the next question."""

    wait_time = constant(0)

    @task
    def chat(self) -> None:
        options = self.environment.parsed_options
        # no two prompts begin alike, so that no cache of prompts helps
        words = ("".join(random.choices(string.ascii_lowercase, k=6)) for _ in range(options.prompt_words))
        body = {
            "model": options.model_name,
            "messages": [{"role": "user", "content": f"{' '.join(words)}. Tell me a story."}],
            "max_tokens": options.n_predict,
            "stream": True,
            "ignore_eos": True,
        }
        headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
        began = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions", json=body, headers=headers, stream=True, catch_response=True, name="chat"
        ) as response:
            try:
                times = list(token_times(response))
            except (OSError, ValueError) as error:
                times, response.error = [], error
            ended = time.perf_counter()
            if response.status_code != 200 or not times:
                response.failure(f"HTTP {response.status_code}, {len(times)} tokens")
                points.add("failed", 1)
                return
            # locust itself would stop its watch at the headers
            response.request_meta["response_time"] = 1e3 * (ended - began)
            response.success()
        self.report(1e3 * (ended - began), [1e3 * (at - began) for at in times])

    def report(self, request_ms: float, token_ms: list[float]) -> None:
        """Measurements of one answer, whose tokens came after `token_ms` milliseconds."""
        gap_ms = (token_ms[-1] - token_ms[0]) / (len(token_ms) - 1) if len(token_ms) > 1 else 0.0
        for metric, value in (
            ("failed", 0.0),
            ("request_ms", request_ms),
            ("ttft_ms", token_ms[0]),
            ("tokens", len(token_ms)),
            *([("gap_ms", gap_ms)] if gap_ms else []),
        ):
            points.add(metric, value)
        for name, value in (("first token", token_ms[0]), ("between tokens", gap_ms)):
            self.environment.events.request.fire(
                request_type="SSE", name=name, response_time=value, response_length=0, exception=None, context={}
            )


def token_times(response: Any) -> Iterator[float]:
    """When each event with text came. Raises ValueError for an event that is an error."""
    for line in response.iter_lines():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        if "error" in event:
            raise ValueError(event["error"])
        if any(has_text(choice["delta"]) for choice in event.get("choices", ())):
            yield time.perf_counter()


def has_text(delta: dict[str, Any]) -> bool:
    """Of an answer, or of a thought before it."""
    return bool(delta.get("content") or delta.get("reasoning_content"))
