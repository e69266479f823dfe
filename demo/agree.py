"""Agree: whether a server reads the GGUF as we meant it: tokens, template and greedy answers.

Run as a module against a server that has the exported model loaded: `python -m demo.agree --url http://127.0.0.1:8080`.
Greedy answers may part where two tokens are almost equally probable, since the server computes in other steps than
PyTorch; such places are shown, not hidden.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch

from . import tokenizer
from .data import mix
from .data.dialogue import Dialogue
from .evaluate import Server
from .export import CHECKPOINT
from .model import Model, Shape
from .template import render

ODD_TEXTS = (
    "", " ", "\n", "  \n\n  \t x", "naïve café, Ünïcödé ß", "日本語のテキスト", "Привет, как дела?", "مرحبا",
    "emoji 🦙🎉 and joined 👩\u200d💻", "it's I'LL we'Ve o'clock", "1234567 ٣٤٥ ½ x² 3.14", "a\r\nb\rc", "..!??--",
    "def f(x):\n    return x**2  # ok\n", '{"a": [1, 2, {"b": null}]}', "tab\tand  two  spaces   ",
    "\u00a0non-breaking\u2003em", "<think>not closed", "a<tool_call>b</tool_call>c",
)  # fmt: skip


def load_model(checkpoint: Path) -> Model:
    """The averaged weights, rounded to F16 as the export does."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = Model(Shape(**state["shape"]))
    weights = {name: weight.half().float() if weight.ndim == 2 else weight for name, weight in state["average"].items()}
    model.load_state_dict(weights)
    return model.eval()


def dialogues(count: int) -> list[Dialogue]:
    found = (sample for sample in mix.samples("agree", held_out=True) if isinstance(sample, Dialogue))
    return list(islice(found, count))


def n_token_differences(server: Server, count: int) -> int:
    """Over odd texts and rendered dialogues: how often the server's token ids differ from ours."""
    ours = tokenizer.load()
    texts = [*ODD_TEXTS, *(render(sample.messages(), sample.tools) for sample in dialogues(count))]
    n_wrong = 0
    for text in texts:
        theirs = server.post("/tokenize", {"content": text, "parse_special": True, "add_special": False})["tokens"]
        if theirs != ours.encode(text).ids:
            n_wrong += 1
            print(f"tokens differ: {text!r}")
    print(f"tokenizer: {len(texts) - n_wrong} of {len(texts)} texts equal")
    return n_wrong


def n_template_differences(server: Server, count: int) -> int:
    n_wrong = 0
    for sample in dialogues(count):
        body = {
            "messages": sample.prompt(),
            "tools": sample.tools,
            "chat_template_kwargs": {"enable_thinking": sample.thinking},
        }
        theirs = server.post("/apply-template", body)["prompt"]
        ours = render(sample.prompt(), sample.tools, thinking=sample.thinking, generate=True)
        if theirs != ours:
            n_wrong += 1
            print(f"template differs:\n{ours!r}\n{theirs!r}")
    print(f"template: {count - n_wrong} of {count} prompts equal")
    return n_wrong


def n_greedy_differences(server: Server, model: Model, count: int) -> int:
    ours = tokenizer.load()
    stop = {ours.token_to_id("<|im_end|>"), ours.token_to_id("<|endoftext|>")}
    n_wrong = 0
    for sample in dialogues(count):
        prompt = ours.encode(render(sample.prompt(), sample.tools, thinking=sample.thinking, generate=True)).ids
        expected = model.greedy(prompt, stop, 60)
        body = {"prompt": prompt, "n_predict": 60, "return_tokens": True, "temperature": 0}
        came = [token for token in server.post("/completion", body)["tokens"] if token not in stop]
        if came != expected:
            n_wrong += 1
            print(f"greedy differs: {ours.decode(expected)!r} | {ours.decode(came)!r}")
    print(f"greedy answers: {count - n_wrong} of {count} equal, token for token")
    return n_wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--greedy", type=int, default=40)
    arguments = parser.parse_args()
    server = Server(arguments.url, 0.0, None)
    n_wrong = n_token_differences(server, arguments.count) + n_template_differences(server, arguments.count)
    n_wrong += n_greedy_differences(server, load_model(arguments.checkpoint), arguments.greedy)
    raise SystemExit(bool(n_wrong))


if __name__ == "__main__":
    main()
