"""Export: a checkpoint, the tokenizer and the chat template as one GGUF in F16.

Run as a module: `python -m demo.export [--checkpoint FILE] [--out FILE]`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from . import template, tokenizer
from .model import Shape

OUT = Path(__file__).parents[1] / "llamahttp" / "assets" / "demo.gguf"
CHECKPOINT = tokenizer.WORK / "checkpoint.pt"
NAMES = {
    "attention_norm": "attn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.o": "attn_output",
    "feed_norm": "ffn_norm",
    "feed.gate": "ffn_gate",
    "feed.up": "ffn_up",
    "feed.down": "ffn_down",
}


FIM_KEYS = {
    "fim_pre": "<|fim_prefix|>",
    "fim_suf": "<|fim_suffix|>",
    "fim_mid": "<|fim_middle|>",
    "fim_pad": "<|fim_pad|>",
    "fim_rep": "<|repo_name|>",
    "fim_sep": "<|file_sep|>",
}


def tensor_name(parameter: str) -> str:
    """llama.cpp's name of one of our parameters."""
    if parameter == "embedding.weight":
        return "token_embd.weight"
    if parameter == "norm.weight":
        return "output_norm.weight"
    _, layer, rest = parameter.split(".", 2)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_rope_dimension_count(shape.n_head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_vocabulary(writer: gguf.GGUFWriter, path: Path) -> None:
    """Tokens, types, merges and the ids of the tokens with a meaning."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = content["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    types = [gguf.TokenType.NORMAL] * len(tokens)
    for added in content["added_tokens"]:
        tokens.append(added["content"])
        types.append(gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_eot_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    for key, token in FIM_KEYS.items():
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", tokens.index(token))


def write(weights: dict[str, Tensor], shape: Shape, out: Path) -> None:
    """Matrices as F16, norms as F32, under llama.cpp's names."""
    writer = gguf.GGUFWriter(str(out), "llama")
    writer.add_name("llamahttp demo")
    writer.add_description("A very small chat model that ships with llamahttp, to show that the server works")
    writer.add_author("The llamahttp authors")
    writer.add_license("MIT")
    writer.add_languages(["en"])
    writer.add_size_label("4M")
    add_shape(writer, shape)
    add_vocabulary(writer, tokenizer.PATH)
    writer.add_chat_template(template.PATH.read_text(encoding="utf-8"))
    for name, weight in weights.items():
        dtype = np.float32 if weight.ndim == 1 else np.float16
        writer.add_tensor(tensor_name(name), weight.detach().float().numpy().astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    state = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(state["average"], Shape(**state["shape"]), arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, step {state['step']}")


if __name__ == "__main__":
    main()
