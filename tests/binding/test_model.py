"""Models and vocabularies: what is read from a file, what is refused, and text to tokens and back."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.tiny_model import CHAT_TEMPLATE
from llamahttp.binding.model import LlamaModel, LlamaVocab
from llamahttp.errors import ModelError, Unavailable

from .. import models


def refused(path: Path) -> str:
    """The one line that says why a file is no model."""
    with pytest.raises(ModelError) as caught:
        LlamaModel(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or repr(str(path)) in message
    return message


# --- files that are no models


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.gguf").endswith("does not exist")


def test_a_directory(tmp_path: Path) -> None:
    assert "cannot read model file" in refused(tmp_path)


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read model file"):
        LlamaModel(tmp_path / "a\0b")


@pytest.mark.parametrize("data", [b"", b"GG", b"PK\x03\x04 a zip", b"<html>"])
def test_another_kind_of_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert "is not a GGUF file" in refused(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_download_that_broke_off(llama_gguf: Path, tmp_path: Path, share: float) -> None:
    data = llama_gguf.read_bytes()
    path = tmp_path / "part.gguf"
    path.write_bytes(data[: int(len(data) * share)])
    assert refused(path).startswith(f"cannot load {path}: ")


@pytest.mark.parametrize("at", [4, 8, 16, 24, 32])
def test_a_header_of_nonsense(llama_gguf: Path, tmp_path: Path, at: int) -> None:
    """Version, number of tensors, number of fields, length of the first key, the key."""
    data = bytearray(llama_gguf.read_bytes())
    data[at : at + 8] = b"\xf0" * 8
    path = tmp_path / "nonsense.gguf"
    path.write_bytes(data)
    assert refused(path).startswith(f"cannot load {path}: ")


def test_an_unknown_architecture(tmp_path: Path) -> None:
    path = models.write_unknown(tmp_path / "unknown.gguf")
    assert refused(path) == f"cannot load {path}: error loading model: unknown model architecture: 'unheard-of'"


def test_after_a_refusal_the_next_model_loads(tmp_path: Path, llama_gguf: Path) -> None:
    refused(models.write_unknown(tmp_path / "unknown.gguf"))
    LlamaModel(llama_gguf).close()


@pytest.mark.skipif(os.name != "posix", reason="names of other bytes than UTF-8 are POSIX's")
def test_a_name_that_is_not_utf8(llama_gguf: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xe4dchen.gguf"))
    try:
        path.symlink_to(llama_gguf)
    except OSError:
        pytest.skip("this file system takes no such names")
    LlamaModel(path).close()


# --- what a model says of itself


def test_what_is_known_about_a_model(llama: LlamaModel, llama_gguf: Path) -> None:
    info = llama.info
    assert info.path == str(llama_gguf)
    assert info.desc.startswith("llama ")
    assert info.desc.endswith("F32")
    assert (info.n_ctx_train, info.n_embd, info.n_vocab) == (2048, 64, 1200)
    assert info.n_params * 4 == info.n_bytes
    assert info.metadata["general.architecture"] == "llama"
    assert info.metadata["llama.attention.head_count_kv"] == "2"
    assert info.chat_templates == {"default": CHAT_TEMPLATE}
    assert not llama.is_encoder_decoder
    assert llama.n_swa == 0


def test_a_sliding_window_is_known(gemma3: LlamaModel) -> None:
    assert gemma3.n_swa == models.WINDOW


def test_all_templates_are_found_by_name(tmp_path: Path) -> None:
    path = models.write_llama(
        tmp_path / "m.gguf", templates={"default": "A" * 5000, "tool_use": "ü{{ x }}", "rag": "C"}
    )
    model = LlamaModel(path)
    assert model.info.chat_templates == {"default": "A" * 5000, "tool_use": "ü{{ x }}", "rag": "C"}
    model.close()


def test_a_model_without_a_template_has_none(tmp_path: Path) -> None:
    model = LlamaModel(models.write_llama(tmp_path / "m.gguf", templates={}))
    assert model.info.chat_templates == {}
    model.close()


# --- loading


def test_progress_is_told_from_beginning_to_end(tmp_path: Path) -> None:
    path = models.write_llama(tmp_path / "m.gguf", replace(models.TINY, n_layers=6))
    told: list[float] = []

    def on_progress(share: float) -> None:
        gc.collect()  # nothing but the load itself may keep the callback alive
        told.append(share)

    LlamaModel(path, on_progress=on_progress).close()
    assert told == sorted(told)
    assert told[0] < 0.5
    assert told[-1] == 1.0


@pytest.mark.parametrize("at_end", [False, True])
def test_what_the_progress_callback_raises_ends_the_load(llama_gguf: Path, at_end: bool) -> None:
    class Enough(Exception):
        pass

    def on_progress(share: float) -> None:
        if share == 1.0 or not at_end:
            raise Enough

    with pytest.raises(Enough):
        LlamaModel(llama_gguf, on_progress=on_progress)


# --- closing


def test_a_closed_model_answers_with_an_error(llama_gguf: Path) -> None:
    model = LlamaModel(llama_gguf)
    vocab = model.vocab
    assert vocab.special_pieces[1] == b"<s>"
    model.close()
    model.close()
    with pytest.raises(Unavailable, match="the model is closed"):
        vocab.tokenize("text", add_special=True, parse_special=True)
    with pytest.raises(Unavailable):
        vocab.detokenize([400], special=True)
    with pytest.raises(Unavailable):
        vocab.pieces[500]
    with pytest.raises(Unavailable):
        _ = model.n_swa
    assert vocab.special_pieces[1] == b"<s>"


def test_closing_waits_for_a_text_that_is_being_tokenised(llama_gguf: Path) -> None:
    model = LlamaModel(llama_gguf)
    text = "hello world " * 20_000
    expected = len(model.vocab.tokenize(text, add_special=True, parse_special=True))
    owner = weakref.ref(model.owner)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(tokens_of(model.vocab, text))))
    thread.start()
    time.sleep(0.005)
    model.close()
    thread.join()
    assert found == [expected]
    assert owner() is None, "freed when the last call has returned"


def tokens_of(vocab: LlamaVocab, text: str) -> list[int]:
    tokens: list[int] = vocab.tokenize(text, add_special=True, parse_special=True).tolist()
    return tokens


# --- vocabulary


@pytest.fixture(params=["spm", "bpe"])
def vocab(request: pytest.FixtureRequest, llama: LlamaModel, llama_bpe: LlamaModel) -> LlamaVocab:
    return llama.vocab if request.param == "spm" else llama_bpe.vocab


def test_special_tokens_are_known(llama: LlamaModel, llama_bpe: LlamaModel) -> None:
    vocab = llama.vocab
    assert (vocab.bos, vocab.eos, vocab.adds_bos, vocab.eog) == (1, 2, True, {2, 4})
    bpe = llama_bpe.vocab
    assert (bpe.bos, bpe.eos, bpe.adds_bos, bpe.eog) == (1197, 1197, False, {1197, 1199})
    assert vocab.suppressed == ()


def test_special_text_is_read_as_tokens_only_where_asked_for(vocab: LlamaVocab) -> None:
    text = "<|im_start|>user"
    (marker,) = [i for i in range(vocab.n_tokens) if vocab.special_pieces[i] == b"<|im_start|>"]
    assert marker in vocab.tokenize(text, add_special=False, parse_special=True)
    assert marker not in vocab.tokenize(text, add_special=False, parse_special=False)
    assert vocab.detokenize([marker], special=True) == b"<|im_start|>"
    assert vocab.detokenize([marker], special=False) == b""
    assert vocab.pieces[marker] == b""


def test_bos_is_added_where_the_model_wants_it_and_it_is_asked_for(llama: LlamaModel, llama_bpe: LlamaModel) -> None:
    def first(model: LlamaModel, add_special: bool) -> int:
        return int(model.vocab.tokenize("hello", add_special=add_special, parse_special=True)[0])

    assert first(llama, True) == llama.vocab.bos
    assert first(llama, False) != llama.vocab.bos
    assert first(llama_bpe, True) != llama_bpe.vocab.bos


def test_no_text_is_no_token(llama: LlamaModel, llama_bpe: LlamaModel) -> None:
    assert llama.vocab.tokenize("", add_special=True, parse_special=True).tolist() == [llama.vocab.bos]
    assert llama_bpe.vocab.tokenize("", add_special=True, parse_special=True).tolist() == []
    assert llama.vocab.detokenize([], special=True) == b""


@settings(deadline=None, max_examples=200)
@given(text=st.text())
def test_text_survives_the_way_to_tokens_and_back(llama_bpe: LlamaModel, llama: LlamaModel, text: str) -> None:
    bpe, spm = llama_bpe.vocab, llama.vocab
    tokens = bpe.tokenize(text, add_special=False, parse_special=False)
    assert tokens.dtype == np.int32
    if " " not in text:  # libllama leaves out spaces before punctuation
        assert bpe.detokenize(tokens, special=True) == text.encode()
    assert b"".join(bpe.special_pieces[token] for token in tokens.tolist()) == text.encode()
    # SentencePiece writes a space before the first word, and its own mark of a space is read as one
    tokens = spm.tokenize(text, add_special=True, parse_special=False)
    pieces = b"".join(spm.special_pieces[token] for token in tokens.tolist()[1:])
    assert pieces.removeprefix(b" ") == text.replace("▁", " ").encode()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"ok \xe2\x82", b"\xf0\x9f", b"a\x00b", b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_tokenised_somehow(vocab: LlamaVocab, data: bytes) -> None:
    tokens = vocab.tokenize(data, add_special=False, parse_special=True)
    assert len(tokens) > 0
    assert vocab.tokenize("next", add_special=False, parse_special=True).size


def test_half_a_surrogate_pair_is_text_too(vocab: LlamaVocab) -> None:
    assert len(vocab.tokenize("a\ud800b", add_special=False, parse_special=True)) > 0


def test_a_megabyte_of_text(vocab: LlamaVocab) -> None:
    text = "the quick brown fox jumps over the lazy dog, schön! " * 20_000
    began = time.monotonic()
    tokens = vocab.tokenize(text, add_special=False, parse_special=True)
    assert vocab.detokenize(tokens, special=True).strip() == text.encode().strip()
    assert time.monotonic() - began < 20


def test_every_piece_is_what_detokenising_gives(vocab: LlamaVocab) -> None:
    for token in range(vocab.n_tokens):
        # alone at the start of a text, SentencePiece's detokeniser drops a leading space
        text = vocab.detokenize([token], special=True)
        assert vocab.special_pieces[token] in (text, b" " + text)
        assert vocab.pieces[token] in (b"", vocab.special_pieces[token])


@pytest.mark.parametrize("token", [-1, 1200, 2**31 - 1])
def test_pieces_end_where_the_vocabulary_ends(vocab: LlamaVocab, token: int) -> None:
    with pytest.raises(IndexError):
        vocab.pieces[token]


def test_pieces_are_a_sequence_of_all_though_found_one_by_one(vocab: LlamaVocab) -> None:
    assert len(vocab.pieces) == vocab.n_tokens
    assert list(vocab.special_pieces) == [vocab.special_pieces[token] for token in range(vocab.n_tokens)]
    assert vocab.special_pieces[3:9:2] == [vocab.special_pieces[token] for token in (3, 5, 7)]
    assert vocab.special_pieces[-1:] == [vocab.special_pieces[vocab.n_tokens - 1]]
    assert vocab.special_pieces[500] in vocab.special_pieces
