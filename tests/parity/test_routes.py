"""Every route beside llama-server: the same status, the same members, of the same types.

`ON_PURPOSE` names what differs, and why.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from llamahttp.config import DEMO_MODEL

from . import servers
from .compare import Answer, differences

TEXT: dict[str, Any] = {"prompt": "The quick brown", "temperature": 0, "n_predict": 4, "ignore_eos": True}
THINK = {"chat_template_kwargs": {"enable_thinking": False}}
"""A thought would be all that four tokens say."""
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 4, **THINK}
PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
LOGPROBS = {"logprobs": True, "top_logprobs": 2}
GAP = {"input_prefix": "def add(a, b):\n    ", "input_suffix": "\n", "temperature": 0, "n_predict": 4}

Request = tuple[str, str, Any]

SAME: list[Request] = [
    # what is generated
    *(("POST", path, TEXT) for path in ("/completion", "/completions", "/v1/completions")),
    ("POST", "/completion", TEXT | {"n_probs": 2, "return_tokens": True}),
    ("POST", "/completion", TEXT | {"n_probs": 2, "post_sampling_probs": True}),
    ("POST", "/completion", TEXT | {"prompt": ["a", "b"]}),
    ("POST", "/completion", TEXT | {"prompt": [1, 2, "c"]}),
    ("POST", "/completion", TEXT | {"prompt": {"prompt_string": "a"}}),
    ("POST", "/completion", TEXT | {"prompt": [[1, 2], "c", {"prompt_string": "a"}]}),
    ("POST", "/completion", TEXT | {"n_cmpl": 2}),
    ("POST", "/completion", TEXT | {"response_fields": ["content", "timings/predicted_n", "nope"]}),
    ("POST", "/completion", TEXT | {"stop": ["e"], "n_predict": 40}),
    ("POST", "/completion", TEXT | {"t_max_predict_ms": 1, "logit_bias": [["x", 1], [5, False]]}),
    ("POST", "/completion", TEXT | {"logit_bias": {"5": -1, "x": 1}, "samplers": "kt", "grammar": 'root ::= "a"+'}),
    ("POST", "/v1/completions", TEXT | {"n": 2}),
    ("POST", "/v1/completions", TEXT | {"prompt": ["a", "b"], "n": 2}),
    *(("POST", path, CHAT) for path in ("/chat/completions", "/v1/chat/completions")),
    ("POST", "/v1/chat/completions", CHAT | {"chat_template_kwargs": {"enable_thinking": True}}),
    ("POST", "/v1/chat/completions", CHAT | LOGPROBS),
    ("POST", "/v1/chat/completions", CHAT | LOGPROBS | {"n": 2}),
    ("POST", "/v1/chat/completions", CHAT | {"n": 2}),
    ("POST", "/v1/chat/completions", CHAT | LOGPROBS | {"post_sampling_probs": True}),
    ("POST", "/infill", GAP),
    ("POST", "/infill", GAP | {"prompt": "return", "input_extra": [{"text": "x = 1\n", "filename": "a.py"}]}),
    # tokens
    ("POST", "/tokenize", {"content": "Hello <|im_start|>"}),
    ("POST", "/tokenize", {"content": "Hello <|im_start|>", "parse_special": False, "add_special": True}),
    ("POST", "/tokenize", {"content": ["Hello", 5, " you"]}),
    ("POST", "/tokenize", {"content": "h\u00e9 \U0001f600", "with_pieces": True}),
    ("POST", "/tokenize", {}),
    ("POST", "/detokenize", {"tokens": [5, 6, 700]}),
    ("POST", "/detokenize", {}),
    ("POST", "/apply-template", CHAT),
    ("POST", "/apply-template", {"messages": [*CHAT["messages"], {"role": "assistant", "content": PARTS}]}),
    ("POST", "/apply-template", {"messages": [{"role": "user", "content": PARTS}]}),
    *(("POST", f"{v}/chat/completions/input_tokens", CHAT) for v in ("", "/v1")),
    # the server
    *(("GET", path, None) for path in ("/health", "/v1/health", "/models", "/v1/models", "/props")),
    ("GET", "/lora-adapters", None),
    ("POST", "/lora-adapters", []),
    ("POST", "/props", {}),
    ("POST", "/slots/0?action=save", {"filename": "slot.bin"}),
    ("POST", "/slots/0?action=restore", {"filename": "slot.bin"}),
    ("POST", "/slots/0?action=erase", {}),
    ("POST", "/v1/chat/completions/control", {"id": "x", "action": "reasoning_end"}),
    ("GET", "/cors-proxy", None),
    ("POST", "/cors-proxy", {}),
    ("GET", "/tools", None),
    ("POST", "/tools", {}),
    # prompts of no token
    *(
        ("POST", path, TEXT | {"prompt": prompt})
        for path in ("/completion", "/v1/completions")
        for prompt in ("", [[]])
    ),
    ("POST", "/completion", TEXT | {"prompt": []}),
    # refusals
    ("GET", "/nope", None),
    ("POST", "/completion", {}),
    ("POST", "/completion", {"prompt": 5}),
    ("POST", "/completion", {"prompt": [{}]}),
    ("POST", "/completion", TEXT | {"n_predict": -2}),
    ("POST", "/completion", TEXT | {"n_predict": "x"}),
    ("POST", "/completion", TEXT | {"n_cmpl": 99}),
    ("POST", "/completion", TEXT | {"repeat_last_n": -1}),
    ("POST", "/completion", TEXT | {"grammar": 'root ::= "a'}),
    ("POST", "/completion", TEXT | {"prompt": "x " * 5000}),
    ("POST", "/completion", TEXT | {"dry_sequence_breakers": []}),
    ("POST", "/completion", TEXT | {"lora": {}}),
    ("POST", "/v1/chat/completions", {"messages": "x"}),
    ("POST", "/v1/chat/completions", CHAT | {"top_logprobs": 2}),
    ("POST", "/v1/chat/completions", {"messages": [{"role": "user"}]}),
    ("POST", "/lora-adapters", {}),
    ("POST", "/slots/0?action=dance", {}),
    ("POST", "/slots/x?action=erase", {}),
    ("POST", "/slots/0?action=save", {"filename": "../x"}),
    ("POST", "/v1/chat/completions/control", {"action": "reasoning_end"}),
    ("POST", "/embedding", {"input": "x"}),
    ("POST", "/v1/embeddings", {"input": "x"}),
    *(
        ("POST", f"{v}/{name}", {"query": "x", "documents": ["y"]})
        for v in ("", "/v1")
        for name in ("rerank", "reranking")
    ),
    ("POST", "/v1/audio/transcriptions", {}),
    ("POST", "/audio/transcriptions", {}),
]

EXTRA = {
    r"(\[\])?\.cache(\.\w+)?": "where cached tokens came from, and why they were not more",
    r".*\.state": "what a slot does, in a word",
}
"""Members that ours has beside llama-server's, by a pattern of their path, and why."""


USAGE = "usage counts every answer and prompt; llama-server counts one"
HISTORY = "slots are chosen otherwise, so that others were in this one"
VALUES: list[tuple[str, str, str]] = [
    *(("/v1/completions", f".usage.{name}_tokens", USAGE) for name in ("completion", "prompt", "total")),
    *(("/v1/chat/completions", f".usage.{name}_tokens", USAGE) for name in ("completion", "total")),
    ("/props", ".media_marker", "llama-server's is a random one"),
    ("/props", ".default_generation_settings.params.reasoning_format", "that of chats; llama-server's is never used"),
    *((f"/slots/0?action={action}", ".filename", "each has its own") for action in ("save", "restore")),
    *(("/slots/0?action=save", place, HISTORY) for place in (".n_saved", ".n_written")),
    *(("/slots/0?action=restore", place, HISTORY) for place in (".n_restored", ".n_read")),
    ("/slots/0?action=erase", ".n_erased", HISTORY),
    ("/completion", ".tokens_cached", "of a prompt of no token none; llama-server shows what others left in the slot"),
]
"""Values that differ, by route and place, and why."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Pair]:
    if not DEMO_MODEL.exists():
        pytest.skip("there is no demo model")
    folder = tmp_path_factory.mktemp("routes")
    flags = ["--slots", "--metrics", "--props", "--slot-save-path", f"{folder}/"]
    with servers.pair(DEMO_MODEL, folder / "log", flags) as pair:
        yield pair


def ask(url: str, method: str, path: str, body: Any) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.headers["Content-Type"], response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def members(value: Any, path: str = "") -> set[str]:
    """Every member of a JSON value with the type of its value; entries of a list count together."""
    match value:
        case dict():
            inner = set().union(*(members(each, f"{path}.{key}") for key, each in value.items()))
            return inner | {f"{path}: object"}
        case list():
            return set().union(*(members(each, f"{path}[]") for each in value), {f"{path}: array"})
        case bool():
            return {f"{path}: boolean"}
        case int() | float():
            return {f"{path}: number"}
        case None:
            return {f"{path}: null"}
        case _:
            return {f"{path}: string"}


def is_extra(member: str) -> bool:
    path = member.partition(":")[0]
    return any(re.fullmatch(pattern, path) for pattern in EXTRA)


def show(request: Request) -> str:
    method, path, body = request
    return f"{method} {path} {json.dumps(body)[:60]}"


def ask_both(both: servers.Pair, request: Request) -> tuple[Answer, Answer]:
    """Both have one directory for slots, but files of their own."""
    method, path, body = request
    named = isinstance(body, dict) and "filename" in body
    theirs = body | {"filename": f"{body['filename']}.reference"} if named else body
    return Answer.of(*ask(both.ours, method, path, body)), Answer.of(*ask(both.reference, method, path, theirs))


@pytest.mark.parametrize("request_", SAME, ids=show)
def test_answers(both: servers.Pair, request_: Request) -> None:
    ours, reference = ask_both(both, request_)
    assert (ours.status, ours.content_type) == (reference.status, reference.content_type), (ours.body, reference.body)
    our, their = members(json.loads(ours.body)), members(json.loads(reference.body))
    assert {member for member in our if not is_extra(member)} == their
    assert places(ours, reference) <= {place for path, place, _ in VALUES if path == request_[1]}


def places(ours: Answer, reference: Answer) -> set[str]:
    """Where two answers have different values."""
    return {found.partition(":")[0] for found in differences(ours, reference)}


@pytest.mark.parametrize("path", sorted({path for path, *_ in VALUES}))
def test_listed_values_do_differ(both: servers.Pair, path: str) -> None:
    found: set[str] = set()
    for request in SAME:
        if request[1] == path:
            found |= places(*ask_both(both, request))
    assert {place for listed, place, reason in VALUES if listed == path and reason is not HISTORY} <= found


PARSED = {".params.chat_format", ".params.generation_prompt"}
"""Names of llama-server for its ways to read a chat's answer."""

TASKS: list[tuple[str, dict[str, Any]]] = [
    ("/completion", TEXT | {"stream": True, "timings_per_token": True, "n_probs": 2, "n_keep": 3, "n_discard": 1}),
    ("/completion", TEXT | {"post_sampling_probs": True, "n_probs": 1, "min_keep": 2, "samplers": ["top_k"]}),
    ("/v1/completions", TEXT | {"seed": 5, "logit_bias": [[5, 1.5]], "grammar": "root ::= [a-z]+"}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"reasoning_format": "none", "mirostat": 2, "n_predict": -1}),
    ("/infill", GAP),
]


@pytest.mark.parametrize("path", ["/slots", "/slots?fail_on_no_slot=1", "/slots?model=any"])
@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_an_idle_slot_tells_of_its_last_task(both: servers.Pair, task: tuple[str, dict[str, Any]], path: str) -> None:
    body = task[1] | {"id_slot": 1, "cache_prompt": False}
    slots = []
    for url in (both.ours, both.reference):
        assert ask(url, "POST", task[0], body)[0] == 200
        status, content_type, shown = ask(url, "GET", path, None)
        slot = json.loads(shown)[1]
        slots.append(Answer.of(status, content_type, json.dumps(slot).encode()))
    found = {difference.partition(":")[0] for difference in differences(*slots)}
    assert found == (PARSED if task[0].endswith("chat/completions") else set())


STREAMED: list[tuple[str, dict[str, Any]]] = [
    ("/completion", TEXT),
    ("/completion", TEXT | {"prompt": ""}),
    ("/completion", TEXT | {"n_probs": 2, "timings_per_token": True}),
    ("/completion", TEXT | {"return_progress": True, "cache_prompt": False}),
    ("/v1/completions", TEXT),
    ("/v1/completions", TEXT | {"prompt": ""}),
    ("/v1/completions", TEXT | {"stream_options": {"include_usage": True}}),
    ("/v1/completions", TEXT | {"return_progress": True, "timings_per_token": True, "cache_prompt": False}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | LOGPROBS | {"timings_per_token": True}),
    ("/v1/chat/completions", CHAT | {"return_progress": True, "cache_prompt": False}),
    ("/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}}),
    ("/infill", GAP),
]


def events(data: bytes) -> list[set[str]]:
    """The kinds of events of a stream in the order of their first, `[DONE]` among them."""
    payloads = [line.removeprefix("data: ") for line in data.decode().split("\n") if line.startswith("data: ")]
    return [{"[DONE]"} if payload == "[DONE]" else members(json.loads(payload)) for payload in payloads]


def is_report(kind: set[str]) -> bool:
    return ".prompt_progress: object" in kind


@pytest.mark.parametrize(("path", "body"), STREAMED, ids=repr)
def test_streams(both: servers.Pair, path: str, body: dict[str, Any]) -> None:
    status, content_type, ours = ask(both.ours, "POST", path, body | {"stream": True})
    status_reference, content_type_reference, reference = ask(both.reference, "POST", path, body | {"stream": True})
    assert (status, content_type) == (status_reference, content_type_reference)
    kinds = [{member for member in kind if not is_extra(member)} for kind in events(ours)]
    # llama-server's reports of progress name a token 0 that nobody has generated
    reference_kinds = [kind - {".tokens[]: number"} if is_report(kind) else kind for kind in events(reference)]
    assert [kind for kind in reference_kinds if kind not in kinds] == []
    assert [kind for kind in kinds if kind not in reference_kinds] == []
    assert (kinds[0], kinds[-1]) == (reference_kinds[0], reference_kinds[-1])


# --- on purpose not the same

DIFFERENT: list[tuple[Request, int, int]] = [
    (("POST", "/v1/completions", TEXT | {"logprobs": 2}), 200, 200),
    (("POST", "/v1/completions", TEXT | {"best_of": 99}), 400, 200),
    (("POST", "/v1/completions", TEXT | {"echo": True, "logprobs": 1}), 400, 200),
    (("POST", "/completion", TEXT | {"id_slot": 99}), 400, 200),
    (("POST", "/completion", TEXT | {"samplers": ["nope"]}), 400, 200),
    (("POST", "/infill", {}), 400, 500),
    (("POST", "/infill", []), 400, 500),
    (("GET", "/completion", None), 405, 404),
    (("GET", f"/v1/models/{quote(str(DEMO_MODEL), safe='')}", None), 200, 404),
    (("GET", "/v1/models/another", None), 404, 404),
    (("POST", "/v1/models", {}), 405, 404),
    (("POST", "/models/load", {}), 501, 404),
    (("POST", "/v1/messages", {}), 400, 500),
]
"""Status of ours and of llama-server: what it ignores or takes for its own failure is refused by name here."""


@pytest.mark.parametrize(("request_", "ours", "reference"), DIFFERENT, ids=repr)
def test_what_differs_on_purpose(both: servers.Pair, request_: Request, ours: int, reference: int) -> None:
    assert (ask(both.ours, *request_)[0], ask(both.reference, *request_)[0]) == (ours, reference)


def test_malformed_json(both: servers.Pair) -> None:
    """llama-server answers 500."""
    statuses = []
    for url in (both.ours, both.reference):
        request = urllib.request.Request(f"{url}/completion", b"{", {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        statuses.append(caught.value.code)
        caught.value.close()
    assert statuses == [400, 500]


def test_usage_counts_every_answer(both: servers.Pair) -> None:
    """llama-server counts the first one's tokens only."""
    answers = [
        json.loads(ask(url, "POST", "/v1/completions", TEXT | {"n": 2})[2]) for url in (both.ours, both.reference)
    ]
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [8, 4]


# --- values


GAPS: list[dict[str, Any]] = [
    GAP,
    GAP | {"prompt": "return"},
    GAP | {"input_prefix": "", "input_suffix": ""},
    GAP | {"input_prefix": ["def ", 300], "input_suffix": [301, "x"]},
    GAP | {"input_extra": [{"text": "x = 1\n", "filename": "a.py"}, {"text": "y = 2\n"}]},
    GAP | {"input_prefix": "word " * 900, "input_suffix": "tail " * 900},
    GAP | {"input_prefix": "word " * 900, "input_extra": [{"text": "many words " * 500}]},
]


@pytest.mark.parametrize("body", GAPS, ids=lambda body: json.dumps(body)[:60])
def test_prompts_of_infill(both: servers.Pair, body: dict[str, Any]) -> None:
    ours, reference = (json.loads(ask(url, "POST", "/infill", body)[2]) for url in (both.ours, both.reference))
    for name in ("prompt", "tokens_evaluated", "content", "tokens_predicted", "stop_type"):
        assert ours[name] == reference[name]


LINES: list[dict[str, Any]] = [
    {"n_indent": n, "grammar": f'root ::= "{text}"', "temperature": 0, "n_predict": 60, "prompt": "x"}
    for n in (1, 2, 4)
    for text in (r"a\n  b c d e f g h\n c d e f g h i j", r"  a\n    b\n    c\nd e f g", r"a b c d e f g h i j k l")
]


@pytest.mark.parametrize("body", LINES, ids=lambda body: json.dumps(body)[:60])
def test_lines_have_to_be_indented(both: servers.Pair, body: dict[str, Any]) -> None:
    ours, reference = (json.loads(ask(url, "POST", "/completion", body)[2]) for url in (both.ours, both.reference))
    assert (ours["content"], ours["stop_type"]) == (reference["content"], reference["stop_type"])


TOKENS: list[Any] = [
    "Hello <|im_start|> you",
    "h\u00e9 \U0001f600 \u2028",
    ["Hello", 5, 6, " you"],
    "",
    "\x00a",
    "a" * 300,
]


@pytest.mark.parametrize("content", TOKENS, ids=repr)
@pytest.mark.parametrize(
    "options", [{}, {"add_special": True}, {"parse_special": False}, {"with_pieces": True}], ids=repr
)
def test_tokens_of_a_text_and_back(both: servers.Pair, content: Any, options: dict[str, bool]) -> None:
    body = {"content": content, **options}
    ours, reference = (json.loads(ask(url, "POST", "/tokenize", body)[2]) for url in (both.ours, both.reference))
    assert ours == reference
    if not options:
        texts = [json.loads(ask(url, "POST", "/detokenize", ours)[2]) for url in (both.ours, both.reference)]
        assert texts[0] == texts[1]
