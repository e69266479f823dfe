"""Tiny models: llama GGUFs with random weights, made in seconds, to measure what a server adds to libllama.

The smaller the model, the larger the share of everything around `llama_decode`; the vocabulary sets the
price of sampling. Both are free here: `python bench/tiny_model.py tiny-32k.gguf` has 2 layers and 32k
tokens (37 MB), and `--vocab 131072 --tokenizer bpe` the same layers and 128k tokens (141 MB).

The text such a model writes is nonsense, but plain: only tokens that are pieces of ASCII words are ever
likely, so every token is text at once, and neither a broken character nor an end of generation disturbs a
measurement.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

TokenizerKind = Literal["spm", "bpe"]
WeightType = Literal["f16", "f32", "q4_k"]
"""Of the matrices; those in Q4_K are written by `bench.quantized`."""
FILE_TYPES: dict[WeightType, gguf.LlamaFileType] = {
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "f32": gguf.LlamaFileType.ALL_F32,
    "q4_k": gguf.LlamaFileType.MOSTLY_Q4_K_M,
}

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# What generation may choose from has logits of about N(0, LOGIT_STD²): of 32k such tokens the best 40 span
# two logits, which leaves top-k, top-p and min-p something to do. Every other token has the logit 0.
LOGIT_STD = 2.0
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a llama model. `n_ff` 0 means three times d_model, `n_heads_kv` 0 as many as `n_heads`."""

    n_layers: int = 2
    d_model: int = 256
    n_heads: int = 4
    n_heads_kv: int = 0
    n_ff: int = 0
    n_vocab: int = 32_000
    n_ctx: int = 32_768
    tokenizer: TokenizerKind = "spm"
    weights: WeightType = "f16"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise ValueError(f"d_model {self.d_model} over {self.n_heads} heads must be an even head size")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"{self.n_heads} heads cannot share {self.kv_heads} key-value heads")
        if self.n_vocab < 512:
            raise ValueError(f"a vocabulary of {self.n_vocab} has no room for bytes and words: at least 512")

    @property
    def kv_heads(self) -> int:
        return self.n_heads_kv or self.n_heads

    @property
    def ff(self) -> int:
        return self.n_ff or 3 * self.d_model


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token texts with their types and scores; ids in [first_word, len(texts)) are whole words of ASCII."""

    texts: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]
    bos: int
    eos: int
    eot: int
    first_word: int


def words(space: str) -> Iterator[tuple[str, str]]:
    """Words as (prefix, last letter), shorter ones first, with and without the leading `space` mark.

    Every prefix longer than one character was itself a word earlier, so that merging letter by letter always
    finds its way.
    """
    level = [space, *LETTERS]
    while True:
        for prefix in level:
            yield from ((prefix, letter) for letter in LETTERS)
        level = [prefix + letter for prefix in level for letter in LETTERS]


def byte_letters() -> list[str]:
    """The 256 printable characters that stand for bytes in a GPT-2 vocabulary, in the order of the bytes.

    Bytes that print in Latin-1 stand for themselves; the others take the code points from 256 on, in order.
    """
    printable = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def spm_vocabulary(n_vocab: int) -> Vocabulary:
    """A SentencePiece-like vocabulary: control tokens, one token per byte as the fallback, letters, words."""
    control = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    single = ["▁", *LETTERS]
    n_fixed = len(control) + len(fallback) + len(single)
    texts = [*control, *fallback, *single, *(a + b for a, b in islice(words("▁"), n_vocab - n_fixed))]
    types = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * (len(control) - 1)
    types += [gguf.TokenType.BYTE] * len(fallback)
    types += [gguf.TokenType.NORMAL] * (n_vocab - len(types))
    return Vocabulary(
        texts=texts,
        types=[int(kind) for kind in types],
        scores=[0.0 if i < n_fixed else float(n_fixed - i - 1) for i in range(n_vocab)],
        merges=[],
        bos=1,
        eos=2,
        eot=4,
        first_word=n_fixed,
    )


def bpe_vocabulary(n_vocab: int) -> Vocabulary:
    """A GPT-2-like vocabulary: the 256 bytes, words with their merges, and control tokens at the end.

    Unlike in `spm_vocabulary` the control tokens stand last, as in the models that have such vocabularies.
    """
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = byte_letters()
    pairs = list(islice(words(alphabet[ord(" ")]), n_vocab - len(alphabet) - len(control)))
    texts = [*alphabet, *(a + b for a, b in pairs), *control]
    n_normal = n_vocab - len(control)
    types = [gguf.TokenType.NORMAL] * n_normal + [gguf.TokenType.CONTROL] * len(control)
    return Vocabulary(
        texts=texts,
        types=[int(kind) for kind in types],
        scores=[],
        merges=[f"{a} {b}" for a, b in pairs],
        bos=n_normal,
        eos=n_normal,
        eot=n_normal + 2,
        first_word=len(alphabet),
    )


def vocabulary(shape: Shape) -> Vocabulary:
    return spm_vocabulary(shape.n_vocab) if shape.tokenizer == "spm" else bpe_vocabulary(shape.n_vocab)


def write_metadata(writer: gguf.GGUFWriter, shape: Shape, vocab: Vocabulary) -> None:
    writer.add_name(f"tiny-{shape.n_layers}x{shape.d_model}-{shape.n_vocab}")
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.d_model // shape.n_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_file_type(FILE_TYPES[shape.weights])
    write_vocabulary(writer, shape, vocab)


def write_vocabulary(writer: gguf.GGUFWriter, shape: Shape, vocab: Vocabulary) -> None:
    if shape.tokenizer == "spm":
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(vocab.scores)
        writer.add_unk_token_id(0)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(vocab.merges)
    writer.add_token_list(vocab.texts)
    writer.add_token_types(vocab.types)
    writer.add_bos_token_id(vocab.bos)
    writer.add_eos_token_id(vocab.eos)
    writer.add_eot_token_id(vocab.eot)
    writer.add_add_bos_token(shape.tokenizer == "spm")
    writer.add_chat_template(CHAT_TEMPLATE)


def write_weights(writer: gguf.GGUFWriter, shape: Shape, vocab: Vocabulary) -> None:
    """Random matrices that keep activations near unit size at any width, and norms of one."""
    rng = np.random.default_rng(shape.seed)
    weight_dtype = np.float16 if shape.weights == "f16" else np.float32

    def matrix(n_out: int, n_in: int, std: float) -> NDArray[np.float32]:
        values: NDArray[np.float32] = rng.standard_normal((n_out, n_in), dtype=np.float32)
        values *= np.float32(std)
        return values

    def add(name: str, values: NDArray[np.float32]) -> None:
        # llama.cpp keeps one-dimensional tensors (the norms) in F32
        writer.add_tensor(f"{name}.weight", values if values.ndim == 1 else values.astype(weight_dtype))

    d, d_kv, ff = shape.d_model, shape.d_model // shape.n_heads * shape.kv_heads, shape.ff
    ones = np.ones(d, dtype=np.float32)
    output = matrix(shape.n_vocab, d, LOGIT_STD * d**-0.5)
    is_word = [i >= vocab.first_word and kind == gguf.TokenType.NORMAL for i, kind in enumerate(vocab.types)]
    output[~np.array(is_word)] = 0
    add("token_embd", matrix(shape.n_vocab, d, 1.0))
    add("output_norm", ones)
    add("output", output)
    for layer in range(shape.n_layers):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm", ones)
        add(f"{block}.attn_q", matrix(d, d, d**-0.5))
        add(f"{block}.attn_k", matrix(d_kv, d, d**-0.5))
        add(f"{block}.attn_v", matrix(d_kv, d, d**-0.5))
        add(f"{block}.attn_output", matrix(d, d, d**-0.5))
        add(f"{block}.ffn_norm", ones)
        add(f"{block}.ffn_gate", matrix(ff, d, d**-0.5))
        add(f"{block}.ffn_up", matrix(ff, d, d**-0.5))
        add(f"{block}.ffn_down", matrix(d, ff, ff**-0.5))


@contextmanager
def new_model(path: Path, architecture: str) -> Iterator[gguf.GGUFWriter]:
    """A writer whose metadata and tensors become the GGUF at `path`. OSError when it cannot be written."""
    # A half-written model must not be found under the name of a whole one.
    partial = path.with_name(path.name + ".partial")
    writer = gguf.GGUFWriter(partial, architecture)
    yield writer
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def write_model(path: Path, shape: Shape) -> None:
    """Write the GGUF at `path`; the same shape gives the same bytes. OSError when it cannot be written."""
    vocab = vocabulary(shape)
    with new_model(path, "llama") as writer:
        write_metadata(writer, shape, vocab)
        write_weights(writer, shape, vocab)


def parse_arguments(argv: list[str] | None) -> tuple[Path, Shape]:
    default = Shape()
    parser = argparse.ArgumentParser(
        description="Write a llama GGUF with random weights.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("path", type=Path, help="the GGUF to write")
    parser.add_argument("--layers", type=int, default=default.n_layers)
    parser.add_argument("--d-model", type=int, default=default.d_model)
    parser.add_argument("--heads", type=int, default=default.n_heads)
    parser.add_argument("--heads-kv", type=int, default=default.n_heads_kv, help="0: as many as --heads")
    parser.add_argument("--ff", type=int, default=default.n_ff, help="0: three times --d-model")
    parser.add_argument("--vocab", type=int, default=default.n_vocab)
    parser.add_argument("--n-ctx", type=int, default=default.n_ctx, help="context the model claims to be trained for")
    parser.add_argument("--tokenizer", choices=["spm", "bpe"], default=default.tokenizer)
    parser.add_argument("--type", choices=["f16", "f32"], default=default.weights, dest="weights")
    parser.add_argument("--seed", type=int, default=default.seed)
    args = parser.parse_args(argv)
    try:
        shape = Shape(
            n_layers=args.layers,
            d_model=args.d_model,
            n_heads=args.heads,
            n_heads_kv=args.heads_kv,
            n_ff=args.ff,
            n_vocab=args.vocab,
            n_ctx=args.n_ctx,
            tokenizer=args.tokenizer,
            weights=args.weights,
            seed=args.seed,
        )
    except ValueError as error:
        parser.error(str(error))
    return args.path, shape


def main(argv: list[str] | None = None) -> int:
    path, shape = parse_arguments(argv)
    try:
        write_model(path, shape)
    except OSError as error:
        print(f"cannot write {path}: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {shape.n_layers} layers, {shape.n_vocab} tokens, {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
