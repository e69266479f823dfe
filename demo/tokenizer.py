"""Tokenizer: byte-level BPE of 2048 tokens, split as llama.cpp's "qwen2" pre-tokenizer splits.

Run as a module to train it: `python -m demo.tokenizer`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import isqrt
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from .data import mix
from .data.dialogue import Raw
from .template import render

WORK = Path(__file__).with_name(".work")
PATH = WORK / "tokenizer.json"
N_VOCAB = 2048
MIN_COUNT = 5
# The pattern of Qwen2's tokenizer.json: words, single digits, runs of punctuation, white space.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
VISIBLE = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>",
)  # fmt: skip


def texts(seed: int, count: int) -> Iterator[str]:
    """Rendered samples without the special tokens, whose text must not teach merges."""
    for sample in islice(mix.samples(f"tokenizer {seed}"), count):
        if isinstance(sample, Raw):
            text = sample.prompt + sample.answer
        else:
            text = render(sample.messages(), sample.tools, thinking=sample.thinking)
        for token in (*CONTROL, *VISIBLE):
            text = text.replace(token, "\n\n")
        yield text


def dampened_words(pieces: pre_tokenizers.PreTokenizer, seed: int, n_samples: int) -> Iterator[str]:
    """Each word of the samples about as often as the root of its count; rare ones (the invented names) not at all.

    Otherwise the syllables of invented names would take most of the merges.
    """
    counts: Counter[str] = Counter()
    for text in texts(seed, n_samples):
        counts.update(piece for piece, _ in pieces.pre_tokenize_str(text))
    for piece, count in sorted(counts.items()):
        if count >= MIN_COUNT:
            yield from [piece] * isqrt(count)


def train(seed: int = 1, n_samples: int = 12000) -> Tokenizer:
    """Learn the merges; the special tokens take the last ids."""
    tokenizer = Tokenizer(BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=N_VOCAB - len(CONTROL) - len(VISIBLE),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(dampened_words(split, seed, n_samples), trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in VISIBLE])
    if tokenizer.get_vocab_size() != N_VOCAB:
        raise ValueError(f"{tokenizer.get_vocab_size()} tokens instead of {N_VOCAB}: more samples are needed")
    return tokenizer


def load(path: Path = PATH) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    train(arguments.seed).save(str(PATH))
    print(f"{PATH}: {N_VOCAB} tokens")


if __name__ == "__main__":
    main()
