"""Self-test of a built library: decode a few tokens in each weight type that servers meet.

`python -m llamahttp.binding.selftest DIR` runs in a child process, since what it looks for is a trap: an
instruction that this CPU lacks, or one that the compiler got wrong, met only with some weight types. Before each type
it prints the type's name, so that the parent knows which one was the last.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import DEMO_MODEL
from ..errors import LibraryError, LlamaHTTPError
from . import library, library_log
from .decoder import LlamaDecoder
from .functions import CONSTANTS
from .llama_context import ContextSizes
from .model import LlamaModel
from .structs import pointer

TYPES = {
    "F16": CONSTANTS["LLAMA_FTYPE_MOSTLY_F16"],
    "Q8_0": CONSTANTS["LLAMA_FTYPE_MOSTLY_Q8_0"],
    "Q4_0": CONSTANTS["LLAMA_FTYPE_MOSTLY_Q4_0"],
    "Q4_K": CONSTANTS["LLAMA_FTYPE_MOSTLY_Q4_K_M"],
}

N_PROMPT = 32
"""Rows of the batch: enough for the kernels that multiply matrices, which a single row does not reach."""

CONFIG = ContextSizes(
    n_ctx=256, n_seq_max=1, n_batch=256, n_ubatch=256, n_threads=2, n_threads_batch=2, kv_unified=False
)

MIN_CORRELATION = {"F16": 0.999, "Q8_0": 0.99, "Q4_0": 0.6, "Q4_K": 0.6}
"""Logits of a quantised copy must still resemble those of the original; wrong kernels give noise."""


def run(source: Path) -> list[str]:
    """Try every type on copies of the model `source`. Returns what is wrong, one sentence a type."""
    reference = logits(source)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="llamahttp-selftest-") as folder:
        for name, ftype in TYPES.items():
            print(name, flush=True)
            copy = Path(folder) / f"{name}.gguf"
            quantize(source, copy, ftype)
            similarity = float(np.corrcoef(reference, logits(copy))[0, 1])
            if not similarity >= MIN_CORRELATION[name]:
                wrong.append(f"{name}: logits correlate with the original's by {similarity:.3f} only")
    return wrong


def quantize(source: Path, target: Path, ftype: int) -> None:
    """Write a copy of a GGUF with its weights in another type. Raises LibraryError."""
    lib = library.load()
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = ftype, 2, True
    with library_log.telling_errors() as errors:
        if lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), pointer(params)) != 0:
            raise LibraryError(f"cannot quantise {source}: {library_log.reason(errors)}")


def logits(path: Path) -> NDArray[np.float32]:
    """Logits after a fixed prompt, computed as one batch and then a single row: float32[n_vocab]."""
    model = LlamaModel(path)
    decoder = LlamaDecoder(model, CONFIG)
    try:
        batch = decoder.batch
        batch.tokens[:N_PROMPT] = np.arange(N_PROMPT) * 7 % model.info.n_vocab
        batch.positions[:N_PROMPT] = np.arange(N_PROMPT)
        batch.outputs[:N_PROMPT] = 0
        batch.outputs[N_PROMPT - 1] = 1
        decoder.decode(N_PROMPT)
        batch.positions[0], batch.outputs[0] = N_PROMPT, 1
        decoder.decode(1)
        return np.array(decoder.logits(1)[0])
    finally:
        decoder.close()
        model.close()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m llamahttp.binding.selftest LIBRARY_DIRECTORY", file=sys.stderr)
        return 2
    os.environ["LLAMAHTTP_LIB"] = arguments[0]
    try:
        wrong = run(DEMO_MODEL)
    except LlamaHTTPError as error:
        wrong = [str(error)]
    print("\n".join(wrong) or "ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
