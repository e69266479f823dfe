"""Evaluate: held-out prompts sent to a running server, and how many answers are right, per kind.

Needs only the standard library: `python demo/evaluate.py --url http://127.0.0.1:8080`. Any server with the OpenAI chat
endpoint will do; the kinds that need `/infill` and `/completion` are left out where those are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: make the package `demo` importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.data import mix, stories
from demo.data.dialogue import Call, Dialogue, Raw, Turn

KINDS = (
    "talk", "facts", "unknown", "llamahttp", "sums", "recall", "recall far", "repeat", "json", "tools", "thinking",
    "stories", "code", "infill", "plain",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one prompt."""

    content: str
    reasoning: str = ""
    calls: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Tally:
    """The score of one kind; `wrong` keeps some failures to look at."""

    n: int = 0
    n_right: int = 0
    wrong: list[dict[str, str]] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        return self.n_right / self.n if self.n else 0.0


class Missing(Exception):
    """The server lacks an endpoint."""


class Server:
    """A server under evaluation."""

    def __init__(self, url: str, temperature: float, api_key: str | None) -> None:
        self.url = url.rstrip("/")
        self.temperature = temperature
        self.headers = {"Content-Type": "application/json"}
        if api_key:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps({**body, "temperature": self.temperature}).encode()
        request = urllib.request.Request(self.url + path, data, self.headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            if error.code in (404, 501):
                raise Missing(path) from error
            raise RuntimeError(f"{path}: {error.code} {error.read()[:500]!r}") from error

    def chat(self, messages: list[dict[str, Any]], dialogue: Dialogue) -> Answer:
        body: dict[str, Any] = {
            "messages": messages,
            "max_tokens": 400,
            "chat_template_kwargs": {"enable_thinking": dialogue.thinking},
        }
        if dialogue.tools:
            body["tools"] = dialogue.tools
        message = self.post("/v1/chat/completions", body)["choices"][0]["message"]
        content = message.get("content") or ""
        reasoning, mark, rest = content.rpartition("</think>")
        if not mark:
            reasoning = message.get("reasoning_content") or ""
        return Answer((rest if mark else content).strip(), reasoning, tuple(message.get("tool_calls") or ()))

    def raw(self, sample: Raw) -> Answer:
        if sample.kind == "infill":
            prefix, suffix = infill_parts(sample.prompt)
            body: dict[str, Any] = {"input_prefix": prefix, "input_suffix": suffix, "n_predict": 120}
            return Answer(self.post("/infill", body)["content"])
        return Answer(self.post("/completion", {"prompt": sample.prompt, "n_predict": 120})["content"])


def infill_parts(prompt: str) -> tuple[str, str]:
    """Prefix and suffix of an infill prompt."""
    _, _, rest = prompt.partition("<|fim_prefix|>")
    prefix, _, rest = rest.partition("<|fim_suffix|>")
    return prefix, rest.removesuffix("<|fim_middle|>")


def _is_json(answer: Answer, turn: Turn) -> bool:
    try:
        return bool(json.loads(answer.content) == json.loads(turn.reply))
    except ValueError:
        return False


def _is_list(answer: Answer, turn: Turn) -> bool:
    """As many different members of the list as were asked for."""
    count, what = turn.must
    parts = answer.content.split("\n") if "\n" in answer.content else answer.content.split(", ")
    items = {part.split(". ", 1)[-1].strip() for part in parts}
    return len(items) == len(parts) == int(count) and items <= set(stories.LISTS[what])


SCORES: dict[str, Callable[[Answer, Turn], bool]] = {
    "exact": lambda answer, turn: answer.content.strip() == turn.reply.strip(),
    "one of": lambda answer, turn: answer.content.strip() in turn.must,
    "must": lambda answer, turn: all(text.lower() in answer.content.lower() for text in turn.must),
    "json": _is_json,
    "list": _is_list,
}


def is_call(answer: Answer, call: Call) -> bool:
    """One call of the right function with the right arguments."""
    if len(answer.calls) != 1:
        return False
    function = answer.calls[0]["function"]
    try:
        return bool(function["name"] == call.name and json.loads(function["arguments"]) == call.arguments)
    except ValueError:
        return False


def score_dialogue(server: Server, dialogue: Dialogue) -> tuple[bool, Answer]:
    """Whether the last question is answered rightly; a tool's call and the answer to its result both count."""
    turn = dialogue.turns[-1]
    answer = server.chat(dialogue.prompt(), dialogue)
    thought = bool(answer.reasoning.strip()) or not dialogue.thinking
    if turn.call is None:
        return thought and not answer.calls and SCORES[turn.score](answer, turn), answer
    if not is_call(answer, turn.call):
        return False, answer
    final = server.chat(dialogue.messages()[:-1], dialogue)
    return thought and all(text in final.content for text in turn.must), final


def score(server: Server, sample: mix.Sample) -> tuple[bool, str, str, str]:
    """Right or wrong, the question, what was wanted, what came."""
    if isinstance(sample, Raw):
        answer = server.raw(sample)
        return answer.content.strip() == sample.answer.strip(), sample.prompt, sample.answer, answer.content
    right, answer = score_dialogue(server, sample)
    turn = sample.turns[-1]
    wanted = f"{turn.call} {turn.reply}" if turn.call else turn.reply
    return right, turn.user, wanted, f"{answer.content} {list(answer.calls) or ''}"


def kind_of(sample: mix.Sample) -> str:
    return "thinking" if isinstance(sample, Dialogue) and sample.thinking else sample.kind


def is_scored(sample: mix.Sample) -> bool:
    return bool(sample.score if isinstance(sample, Raw) else sample.turns[-1].score)


def held_out(seed: int, count: int, kinds: tuple[str, ...]) -> Iterator[mix.Sample]:
    """`count` held-out samples of each kind."""
    left = dict.fromkeys(kinds, count)
    for sample in mix.samples(f"evaluate {seed}", held_out=True):
        kind = kind_of(sample)
        if left.get(kind, 0) and is_scored(sample):
            left[kind] -= 1
            yield sample
        if not any(left.values()):
            return


def evaluate(server: Server, arguments: argparse.Namespace) -> dict[str, Tally]:
    tallies = {kind: Tally() for kind in arguments.kinds}

    def one(sample: mix.Sample) -> tuple[str, tuple[bool, str, str, str] | None]:
        try:
            return kind_of(sample), score(server, sample)
        except Missing:
            return kind_of(sample), None

    with ThreadPoolExecutor(arguments.concurrency) as pool:
        for kind, outcome in pool.map(one, held_out(arguments.seed, arguments.count, arguments.kinds)):
            if outcome is None:
                continue
            right, question, wanted, came = outcome
            tallies[kind].n += 1
            tallies[kind].n_right += right
            if not right:
                tallies[kind].wrong.append({"question": question, "wanted": wanted, "came": came})
    return tallies


def show(tallies: dict[str, Tally], n_failures: int) -> None:
    """A table, then some of the failures."""
    print(f"{'kind':<12} {'right':>6} {'of':>5} {'accuracy':>9}")
    for kind, tally in tallies.items():
        share = f"{tally.accuracy:>9.1%}" if tally.n else "  missing"
        print(f"{kind:<12} {tally.n_right:>6} {tally.n:>5} {share}")
    for kind, tally in tallies.items():
        for failure in tally.wrong[:n_failures]:
            print(f"\n[{kind}] {failure['question']}\n  wanted: {failure['wanted']}\n  came:   {failure['came']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--api-key")
    parser.add_argument("--count", type=int, default=100, help="prompts per kind")
    parser.add_argument("--kinds", type=lambda text: tuple(text.split(",")), default=KINDS, help="comma-separated")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failures", type=int, default=0, help="failures to print per kind")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"unknown kinds {sorted(unknown)}; known are {', '.join(KINDS)}")
    began = time.monotonic()
    tallies = evaluate(Server(arguments.url, arguments.temperature, arguments.api_key), arguments)
    show(tallies, arguments.failures)
    print(f"{time.monotonic() - began:.1f} s at temperature {arguments.temperature}")
    if arguments.json:
        content = {kind: {**asdict(tally), "accuracy": tally.accuracy} for kind, tally in tallies.items()}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
