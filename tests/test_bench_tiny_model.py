"""The models made for measuring: what is in the file, and that any text can be written with its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from bench.tiny_model import Shape, TokenizerKind, byte_letters, main, vocabulary, write_model

KINDS: list[TokenizerKind] = ["spm", "bpe"]


def small(kind: TokenizerKind, **changes: Any) -> Shape:
    sizes: dict[str, Any] = {"n_layers": 1, "d_model": 32, "n_heads": 4, "n_vocab": 1200, "n_ctx": 64}
    return Shape(tokenizer=kind, **(sizes | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_says_what_was_asked_for(kind: TokenizerKind, tmp_path: Path) -> None:
    shape = small(kind, n_heads_kv=2, n_ff=48)
    write_model(tmp_path / "m.gguf", shape)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    values = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.embedding_length": 32,
        "llama.context_length": 64,
        "llama.feed_forward_length": 48,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 8,
        "llama.vocab_size": 1200,
        "tokenizer.ggml.model": {"spm": "llama", "bpe": "gpt2"}[kind],
        "tokenizer.ggml.add_bos_token": kind == "spm",
    }
    assert {name: values[name] for name in expected} == expected
    texts, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    assert len(set(texts)) == len(types) == 1200
    assert texts[values["tokenizer.ggml.eot_token_id"]] == "<|im_end|>"
    assert types[values["tokenizer.ggml.eos_token_id"]] == gguf.TokenType.CONTROL
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert len(shapes) == 3 + 9
    assert shapes["token_embd.weight"] == shapes["output.weight"] == [32, 1200]
    assert shapes["blk.0.attn_q.weight"] == [32, 32]
    assert shapes["blk.0.attn_k.weight"] == shapes["blk.0.attn_v.weight"] == [32, 16]
    assert shapes["blk.0.ffn_down.weight"] == [48, 32]


@pytest.mark.parametrize("kind", KINDS)
def test_only_words_are_ever_likely(kind: TokenizerKind, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", small(kind))
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    texts = reader.fields["tokenizer.ggml.tokens"].contents()
    output = next(tensor.data for tensor in reader.tensors if tensor.name == "output.weight")
    likely = [text for text, row in zip(texts, output, strict=True) if np.any(row)]
    assert len(likely) > 800
    assert all(text.lstrip("▁Ġ").isascii() and text[-1].islower() and len(text) > 1 for text in likely)


def test_weights_have_the_type_asked_for_and_norms_are_f32(tmp_path: Path) -> None:
    for weights, expected in (("f16", gguf.GGMLQuantizationType.F16), ("f32", gguf.GGMLQuantizationType.F32)):
        write_model(tmp_path / "m.gguf", small("spm", weights=weights))
        types = {t.name: t.tensor_type for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
        assert types["blk.0.ffn_up.weight"] == types["output.weight"] == expected
        assert types["blk.0.attn_norm.weight"] == gguf.GGMLQuantizationType.F32


def test_the_seed_decides_the_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_model(tmp_path / name, small("spm", seed=seed))
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_spm_has_every_byte_to_fall_back_on_and_longer_words_rank_lower() -> None:
    vocab = vocabulary(small("spm"))
    of_bytes = [text for text, kind in zip(vocab.texts, vocab.types, strict=True) if kind == gguf.TokenType.BYTE]
    assert of_bytes == [f"<0x{byte:02X}>" for byte in range(256)]
    words = vocab.scores[vocab.first_word :]
    assert words == sorted(words, reverse=True)
    assert len(set(words)) == len(words)


def test_bpe_has_every_byte_and_each_merge_joins_tokens_to_a_token() -> None:
    vocab = vocabulary(small("bpe"))
    alphabet = byte_letters()
    assert vocab.texts[:256] == alphabet
    assert len(set(alphabet)) == 256
    # known from GPT-2: the space, the newline, and a letter that stands for itself
    assert (alphabet[ord(" ")], alphabet[ord("\n")], alphabet[ord("a")]) == ("Ġ", "Ċ", "a")
    known = set(alphabet)
    for merge in vocab.merges:
        left, right = merge.split(" ")
        assert left in known
        assert right in known
        known.add(left + right)
    assert known == set(vocab.texts[:-3])


@pytest.mark.parametrize("changes", [{"d_model": 30}, {"n_heads": 32}, {"n_heads_kv": 3}, {"n_vocab": 400}], ids=str)
def test_shapes_that_cannot_be_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|cannot share|at least"):
        small("spm", **changes)


def test_the_program_writes_the_file_and_refuses_nonsense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "m.gguf")
    assert main([path, "--layers", "1", "--d-model", "32", "--vocab", "600", "--tokenizer", "bpe"]) == 0
    assert "1 layers, 600 tokens" in capsys.readouterr().out
    assert main([str(tmp_path / "missing" / "m.gguf"), "--vocab", "600", "--d-model", "32"]) == 1
    assert "cannot write" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([path, "--heads", "7"])
    assert "even head size" in capsys.readouterr().err
