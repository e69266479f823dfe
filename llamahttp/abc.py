"""Protocols: all that the engine and the HTTP side know of libllama. Tests implement them without a model.

`binding` implements them over the real library and `context` is written against them, so neither imports the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .config import Pooling
from .errors import InvalidRequest
from .task import SamplingParams, TokenProbs

SamplerT = TypeVar("SamplerT", bound="Sampler")


class FimTokens(NamedTuple):
    """Tokens that frame the parts of a text to fill in the middle of; -1 where the model has none."""

    prefix: int = -1
    suffix: int = -1
    middle: int = -1
    repository: int = -1
    """Before the name of the repository that files of context are from; likewise `file`."""
    file: int = -1


class Vocab(Protocol):
    """A vocabulary; any thread may use it."""

    n_tokens: int
    bos: int
    """Token id, or -1 where the model has none. Likewise `eos` and `sep`."""
    eos: int
    sep: int
    adds_bos: bool
    adds_eos: bool
    adds_sep: bool
    fim: FimTokens
    eog: frozenset[int]
    """Every token that ends a generation."""
    pieces: Sequence[bytes]
    """Bytes of each token as they appear in an answer: control tokens are empty."""
    special_pieces: Sequence[bytes]
    """Bytes of each token with control tokens written out."""

    def tokenize(self, text: str | bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        """Token ids of `text`, int32[n]. `add_special` adds BOS/EOS where the model wants them; `parse_special` reads
        `<|im_start|>` and the like as the tokens they name."""

    def detokenize(self, tokens: Sequence[int] | NDArray[np.int32], *, special: bool) -> bytes:
        """Text of `tokens`, not necessarily valid UTF-8. `special` writes control tokens out."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known about the loaded model."""

    path: str
    desc: str
    """Architecture, size and quantisation in words, such as `llama 8B Q4_K - Medium`."""
    n_params: int
    n_bytes: int
    n_ctx_train: int
    n_embd: int
    n_vocab: int
    vocab_type: int
    """`enum llama_vocab_type`."""
    ftype: str
    metadata: dict[str, str]
    """Every scalar of the GGUF's metadata, as text."""
    chat_templates: dict[str, str]
    """Jinja sources by name; the model's own is called `default`."""


class BatchError(Exception):
    """`Decoder.decode` could not compute this batch; the memory is as before the call unless `fatal`."""

    def __init__(self, message: str, *, no_cells: bool = False, fatal: bool = False) -> None:
        super().__init__(message)
        self.no_cells = no_cells
        """The KV cache has no room for the batch."""
        self.fatal = fatal
        """The compute failed; the memory of the sequences in the batch can not be trusted any more."""


class Batch(Protocol):
    """Columns that libllama reads in place. Rows [0, n) are in use; the engine writes them as slices.

    `tokens`, `positions` int32; `outputs` int8 (1 where logits are wanted).
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    outputs: NDArray[np.int8]

    def set_sequence(self, start: int, stop: int, id_seq: int) -> None:
        """Rows [start, stop) belong to sequence `id_seq`."""


class Decoder(Protocol):
    """A context: KV memory for several sequences and the compute over it. Engine thread only."""

    n_ctx: int
    """Cells in all. With `kv_unified` any sequence may use them all, else each has `n_ctx_seq` of its own."""
    n_ctx_seq: int
    n_batch: int
    n_ubatch: int
    n_seq_max: int
    kv_unified: bool
    """Sequences share one pool of cells, so that a copy shares cells too and costs nothing."""
    can_cut: bool
    """The end of a sequence can be cut off anywhere: full attention only, no window, no recurrent state."""
    can_shift: bool
    """Positions can be moved (`shift`)."""
    n_tile: int
    """Rows of one stream of the cache that are computed together at best: far behind its beginning fewer of them take
    longer, and so do those of several streams at once. 1 where it makes no difference."""
    n_cells: int
    """Cells that all sequences compete for; 0 where each has its own, or tokens take none (recurrent state)."""
    fingerprint: str
    """Names the model, its adapters and whatever else the bytes of `save` depend on, for files that outlive us."""

    @property
    def batch(self) -> Batch:
        """The one batch of this context."""

    def decode(self, n_rows: int) -> None:
        """Compute rows [0, n_rows) of `batch`. Raises BatchError. Releases the GIL meanwhile."""

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        """Logits of the last decode, float32[n_outputs, n_vocab], in the order of the rows that asked for them.
        A view: valid until the next decode."""

    def remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        """Forget positions [start, stop) of a sequence; -1 is its end. False where the memory cannot cut there, and
        then nothing has changed. A whole sequence can always be removed."""

    def least_cut(self, id_seq: int) -> int:
        """The first position from which on the end of a sequence can be cut off: 0 for full attention."""

    def copy(self, source: int, target: int) -> None:
        """Make `target`, whatever it held, equal to `source`. Both can then be continued and cut on their own.

        With a sliding window a copy is best cut at once: the next copy or decode leaves it its last window only.
        """

    def append(self, source: int, target: int) -> None:
        """Add the cells of `source`, which begin where `target` ends, to `target`; both then share them. Needs
        `kv_unified` and `can_cut`."""

    def shift(self, id_seq: int, start: int, stop: int, delta: int) -> None:
        """Add `delta` to the positions [start, stop). Needs `can_shift`, and cells that no other sequence shares."""

    def saved_size(self, id_seq: int) -> int:
        """Bytes that `save` would give."""

    def save(self, id_seq: int, *, partial: bool = False) -> bytes:
        """The memory of a sequence as bytes. `partial` is only the part that cannot be cut (recurrent state, sliding
        window), which together with an uncut rest is a checkpoint. Raises EngineError."""

    def restore(self, id_seq: int, state: bytes, *, partial: bool = False) -> bool:
        """Fill a sequence from what `save` gave, whatever it held; `partial` leaves its other part as it is.
        False if it did not fit or is not such a state; the sequence is then empty."""

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        """Apply LoRA adapters, pairs (index, scale), to all that is decoded from now on."""

    def set_samplers(self, samplers: Mapping[int, Any]) -> None:
        """Let the device sample with these (`Sampler.for_device`), by sequence, at the next decodes, and no others."""

    def sampled(self, ids: Sequence[int]) -> list[int | None]:
        """Tokens that the device sampled at the last decode, whose rows that asked for outputs belong to the sequences
        `ids`, in their order; None where it was not to, -1 where the logits are not numbers."""

    def rebuild(self) -> None:
        """Make the context anew, with empty memory, after a fatal BatchError. Raises ModelError."""

    def close(self) -> None:
        """Free the context. Safe twice."""


class Constraint(Protocol):
    """What the next token of one request may be: a grammar, a budget of thoughts, or several of these together.

    One thread at a time uses it, but not always the same one: `mask` runs on the pool that samples.
    """

    def forced(self) -> int | None:
        """The token that has to come next, which is then not sampled; None where there is a choice."""

    def allows(self, token: int) -> bool:
        """Whether `token` may come next. Asked first, since most sampled tokens may."""

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool[n_vocab]. All False fails the request."""

    def accept(self, token: int) -> None:
        """`token`, which was forced or allowed, has come."""

    def end_reasoning(self) -> bool:
        """Force the end of the thought that goes on now. False if there is none, or it is ending."""

    def fault(self) -> InvalidRequest | None:
        """Where no token may come next: why the request is to blame for it. None if it is not."""


class InputPart(NamedTuple):
    """Tokens [start, start + len(tokens)) of an input whose embedding is computed as sequence `id_seq`."""

    id_seq: int
    start: int
    tokens: NDArray[np.int32]


class Embedder(Protocol):
    """A context that computes embeddings, with memory of its own if any. Engine thread only, but for the constants."""

    n_ctx: int
    """Most tokens of an input."""
    n_batch: int
    """Tokens of a decode, but for an input that is longer and cannot be cut into parts."""
    n_seq_max: int
    n_out: int
    """Numbers of a vector; with the pooling RANK the classifier's scores."""
    pooling: Pooling
    takes_parts: bool
    """An input may be computed in several parts, one decode after the other."""
    pools: bool
    """`decode` gives one vector a part, which is pooled already, instead of one a token."""

    def reserve(self, n_tokens: int) -> None:
        """Make room for an input of this length, at the price of what the sequences hold. Raises EngineError."""

    def decode(self, parts: Sequence[InputPart]) -> list[NDArray[np.float32]]:
        """Compute the parts together: of each float32[n, n_out], with n 1 or the number of its tokens. Copies.

        Raises BatchError; the sequences are then empty.
        """

    def forget(self, id_seq: int) -> None:
        """Empty a sequence."""

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        """Apply LoRA adapters, pairs (index, scale), to all that is decoded from now on. Raises EngineError."""

    def rebuild(self) -> None:
        """Make the context anew after a fatal BatchError. Raises EngineError."""

    def close(self) -> None:
        """Free the context. Safe twice."""


class Sampler(Protocol):
    """Chooses the tokens of one request. Made by `SamplerFactory`, released when the request ends."""

    @property
    def for_device(self) -> Any:
        """What `Decoder.set_samplers` takes, so that the device samples; None where this request does not allow it."""

    def close(self) -> None:
        """Free what it keeps of its request. Safe twice."""


class SamplerFactory(Protocol[SamplerT]):
    """Makes samplers and samples with several of them at once. Engine thread only, but for `prepare`."""

    def prepare(self, params: SamplingParams) -> None:
        """Do now what would keep `open` busy for long, if anything would. Any thread. Raises InvalidRequest."""

    def open(self, params: SamplingParams, prompt: NDArray[np.int32], constraint: Constraint | None = None) -> SamplerT:
        """A sampler whose history ends with `prompt`, and that gives only tokens that `constraint` allows.

        `constraint` is not told of the prompt. Raises InvalidRequest for parameters that libllama refuses.
        """

    def sample(
        self, samplers: Sequence[SamplerT], logits: NDArray[np.float32], given: Sequence[int | None] = ()
    ) -> list[int]:
        """Sample row i of `logits` with samplers[i] and accept the token into its history and its constraint. `given`,
        if any: of each row what the device has sampled, which is then the result, or None.

        -1 for a row whose logits are not numbers, or whose constraint allows nothing; it says nothing about the others.
        """

    def probs(self, sampler: SamplerT, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
        """Log probabilities at the token just sampled: before sampling, the softmax over the raw logits; or after it,
        if the sampler was made with `n_post_probs`."""

    def close(self) -> None:
        """End the threads that sample; the samplers are closed before. Safe twice."""
