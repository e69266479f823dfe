"""Model and vocabulary: owners of what `llama_model_load_from_file` returns. Any thread may read both."""

from __future__ import annotations

import ctypes as c
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..abc import FimTokens, ModelInfo
from ..config import LoadConfig
from ..errors import ModelError, Unavailable
from . import library, library_log
from .functions import CONSTANTS
from .load_params import LoadParams
from .structs import PROGRESS_CALLBACK

log = logging.getLogger(__name__)

GGUF_MAGIC = b"GGUF"
DEFAULT_LOAD = LoadConfig()
HIDDEN = CONSTANTS["LLAMA_TOKEN_ATTR_UNKNOWN"] | CONSTANTS["LLAMA_TOKEN_ATTR_CONTROL"]


class _Owner:
    """Frees a model when nobody uses it any more.

    Every call into the model holds a reference meanwhile, so that closing it while another thread tokenises is safe.
    """

    def __init__(self, lib: Any, model: int) -> None:
        self._free = lib.llama_model_free
        self.model = model
        self.vocab: int = lib.llama_model_get_vocab(model)

    def __del__(self) -> None:
        self._free(self.model)


class LlamaModel:
    """An open GGUF. Raises ModelError if the file is missing, corrupt or unknown to libllama."""

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = -1,
        load: LoadConfig = DEFAULT_LOAD,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """`on_progress` is called with 0..1 on the thread that loads; what it raises ends the load and is raised here.

        Blocks, without the GIL, until loaded.
        """
        check_file(path)
        self._lib = library.load()
        progress = _Progress(on_progress)
        load_params = LoadParams(self._lib, load)
        params = load_params.struct
        params.n_gpu_layers = n_gpu_layers
        params.progress_callback = progress.callback
        with library_log.telling_errors() as errors:
            handle = self._lib.llama_model_load_from_file(os.fsencode(path), params)
            self._owner = _Owner(self._lib, handle) if handle else None
            if progress.error is not None:
                raise progress.error
            if not handle:
                raise ModelError(f"cannot load {path}: {library_log.reason(errors)}")
        self.overrides = load.overrides
        """Metadata that took the place of the file's."""
        self.info = self._read_info(path)
        self.vocab = LlamaVocab(self)

    @property
    def owner(self) -> _Owner:
        """Keeps the model open as long as it is held. Raises Unavailable once the model is closed."""
        if self._owner is None:
            raise Unavailable("the model is closed")
        return self._owner

    @property
    def handle(self) -> int:
        return self.owner.model

    def close(self) -> None:
        """Free the model, at once or when the last context made from it is closed. Safe twice."""
        self._owner = None

    @property
    def n_layers(self) -> int:
        return int(self._lib.llama_model_n_layer(self.handle))

    @property
    def n_swa(self) -> int:
        """Window of sliding-window attention in tokens; 0 without."""
        return int(self._lib.llama_model_n_swa(self.handle))

    @property
    def is_recurrent(self) -> bool:
        """Whether its memory is a state only, without attention."""
        return bool(self._lib.llama_model_is_recurrent(self.handle))

    @property
    def is_hybrid(self) -> bool:
        """Whether its memory is attention and a recurrent state."""
        return bool(self._lib.llama_model_is_hybrid(self.handle))

    @property
    def only_attends(self) -> bool:
        """Whether its memory is full attention only, which can be cut anywhere."""
        return self.n_swa == 0 and not self.is_recurrent and not self.is_hybrid

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it reads with one half and writes with the other, as T5 does."""
        lib, handle = self._lib, self.handle
        return bool(lib.llama_model_has_decoder(handle) and lib.llama_model_has_encoder(handle))

    def _read_info(self, path: Path) -> ModelInfo:
        lib, handle = self._lib, self.handle
        vocab = lib.llama_model_get_vocab(handle)
        metadata = self._read_metadata()
        return ModelInfo(
            path=str(path),
            desc=_read_text(lib.llama_model_desc, handle),
            n_params=lib.llama_model_n_params(handle),
            n_bytes=lib.llama_model_size(handle),
            n_ctx_train=lib.llama_model_n_ctx_train(handle),
            n_embd=lib.llama_model_n_embd(handle),
            n_vocab=lib.llama_vocab_n_tokens(vocab),
            vocab_type=lib.llama_vocab_type(vocab),
            ftype=(lib.llama_ftype_name(lib.llama_model_ftype(handle)) or b"").decode(errors="replace"),
            metadata=metadata,
            chat_templates=self._read_templates(metadata),
        )

    def _read_metadata(self) -> dict[str, str]:
        lib, handle = self._lib, self.handle
        return {
            _read_text(lib.llama_model_meta_key_by_index, handle, i): _read_text(
                lib.llama_model_meta_val_str_by_index, handle, i
            )
            for i in range(lib.llama_model_meta_count(handle))
        }

    def _read_templates(self, metadata: dict[str, str]) -> dict[str, str]:
        prefix = "tokenizer.chat_template."
        names = ["default", *(key[len(prefix) :] for key in metadata if key.startswith(prefix))]
        sources = {
            name: self._lib.llama_model_chat_template(self.handle, None if name == "default" else name.encode())
            for name in names
        }
        return {name: source.decode(errors="replace") for name, source in sources.items() if source}


class LlamaVocab:
    """The vocabulary of a model; implements `abc.Vocab`. Calls raise Unavailable once the model is closed."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._lib = lib = library.load()
        handle = self.handle
        self.n_tokens: int = lib.llama_vocab_n_tokens(handle)
        self.bos: int = lib.llama_vocab_bos(handle)
        self.eos: int = lib.llama_vocab_eos(handle)
        self.sep: int = lib.llama_vocab_sep(handle)
        self.fim = FimTokens(
            lib.llama_vocab_fim_pre(handle),
            lib.llama_vocab_fim_suf(handle),
            lib.llama_vocab_fim_mid(handle),
            lib.llama_vocab_fim_rep(handle),
            lib.llama_vocab_fim_sep(handle),
        )
        self.adds_bos: bool = lib.llama_vocab_get_add_bos(handle)
        self.adds_eos: bool = lib.llama_vocab_get_add_eos(handle)
        self.adds_sep: bool = lib.llama_vocab_get_add_sep(handle)
        # libllama has no list of them. With 128k tokens 40 ms of calls that keep the GIL for 0.3 us each: others get on
        self.eog = frozenset(i for i in range(self.n_tokens) if lib.llama_vocab_is_eog(handle, i))
        self.special_pieces: Sequence[bytes] = _Pieces(self.n_tokens, self._piece)
        self.pieces: Sequence[bytes] = _Pieces(self.n_tokens, self._visible_piece)

    @property
    def handle(self) -> int:
        return self._model.owner.vocab

    def _call(self, function: Callable[..., int], *arguments: Any) -> int:
        """Call a function of the vocabulary. This frame holds the owner, so the model stays for as long."""
        owner = self._model.owner
        return function(owner.vocab, *arguments)

    @property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that the model's file forbids (tokenizer.ggml.suppress_tokens)."""
        count = c.c_int32()
        tokens = self._call(self._lib.llama_vocab_get_suppress_tokens, c.byref(count))
        return tuple((c.c_int32 * count.value).from_address(tokens)) if tokens and count.value else ()

    def tokenize(self, text: str | bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        data = text.encode(errors="replace") if isinstance(text, str) else text
        tokens = np.empty(len(data) + 2, np.int32)  # a token has at least a byte; BOS and EOS have none
        n = self._tokenize(data, tokens, add_special, parse_special)
        if n < 0:
            tokens = np.empty(-n, np.int32)
            n = self._tokenize(data, tokens, add_special, parse_special)
        assert n >= 0, "llama_tokenize asked for more room than it said it needs"
        return np.array(tokens[:n])

    def _tokenize(self, data: bytes, tokens: NDArray[np.int32], add_special: bool, parse_special: bool) -> int:
        address = tokens.ctypes.data
        return self._call(self._lib.llama_tokenize, data, len(data), address, len(tokens), add_special, parse_special)

    def detokenize(self, tokens: Sequence[int] | NDArray[np.int32], *, special: bool) -> bytes:
        ids = np.ascontiguousarray(tokens, np.int32)
        size = 16 + 8 * len(ids)
        while True:
            buffer = c.create_string_buffer(size)
            n = self._call(
                self._lib.llama_detokenize, ids.ctypes.data, len(ids), c.addressof(buffer), size, False, special
            )
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def _piece(self, token: int) -> bytes:
        buffer = c.create_string_buffer(64)
        n = self._call(self._lib.llama_token_to_piece, token, c.addressof(buffer), len(buffer), 0, True)
        if n < 0:
            buffer = c.create_string_buffer(-n)
            n = self._call(self._lib.llama_token_to_piece, token, c.addressof(buffer), len(buffer), 0, True)
        return buffer.raw[:n]

    def _visible_piece(self, token: int) -> bytes:
        return b"" if self._call(self._lib.llama_vocab_get_attr, token) & HIDDEN else self.special_pieces[token]


class _Pieces(Sequence[bytes]):
    """The bytes of every token, found when first asked for: a vocabulary of 256k tokens costs nothing at load.

    Indices are token ids, so that -1 is none of them.
    """

    def __init__(self, n_tokens: int, find: Callable[[int], bytes]) -> None:
        self._n_tokens = n_tokens
        self._find = find
        self._found: dict[int, bytes] = {}

    @overload
    def __getitem__(self, token: int) -> bytes: ...

    @overload
    def __getitem__(self, token: slice) -> list[bytes]: ...

    def __getitem__(self, token: int | slice) -> bytes | list[bytes]:
        if isinstance(token, slice):
            return [self[each] for each in range(self._n_tokens)[token]]
        piece = self._found.get(token)
        if piece is None:
            if not 0 <= token < self._n_tokens:
                raise IndexError(f"token {token} is not in the vocabulary of {self._n_tokens} tokens")
            piece = self._found[token] = self._find(token)
        return piece

    def __len__(self) -> int:
        return self._n_tokens


def check_file(path: Path) -> None:
    """Raise ModelError for what can be seen without libllama: missing, a directory, empty, not a GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except FileNotFoundError:
        raise ModelError(f"model file {path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ModelError(f"cannot read model file {path}: {getattr(error, 'strerror', error)}") from None
    if not magic:
        raise ModelError(f"{path} is not a GGUF file: it is empty")
    if magic != GGUF_MAGIC:
        raise ModelError(f"{path} is not a GGUF file: it begins with {magic!r} instead of {GGUF_MAGIC!r}")


class _Progress:
    """The progress callback of one load, which libllama calls until the load returns; and the error that ended it."""

    def __init__(self, on_progress: Callable[[float], None] | None) -> None:
        self._on_progress = on_progress
        self.error: BaseException | None = None
        self.callback = PROGRESS_CALLBACK(self._call) if on_progress else PROGRESS_CALLBACK()

    def _call(self, progress: float, _user_data: object) -> bool:
        assert self._on_progress is not None
        try:
            self._on_progress(progress)
        except BaseException as error:  # C lies between here and who must get it
            self.error = error
        return self.error is None


def _read_text(function: Any, *arguments: Any) -> str:
    """Call a function of the form `int32 f(..., char * buf, size_t size)` with as much room as it wants."""
    size = 256
    while True:
        buffer = c.create_string_buffer(size)
        n = function(*arguments, c.addressof(buffer), size)
        if n < size:
            return buffer.value.decode(errors="replace") if n >= 0 else ""
        size = n + 1
