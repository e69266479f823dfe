"""Which model, and where it is fetched from."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .row import Constant, Flag, Value, refused


def repository(value: str) -> str:
    """`user/model` or `user/model:quant`, with the letters that Hugging Face allows."""
    name, _, quant = value.partition(":")
    if not re.fullmatch(r"\w+([.-]\w+)*/\w+([.-]\w+)*", name, re.ASCII) or len(name) > 256:
        raise ValueError(f"{value!r} is not USER/MODEL or USER/MODEL:QUANT")
    if not re.fullmatch(r"[\w.-]*", quant, re.ASCII):
        raise ValueError(f"{quant!r} is no quant, which is a word such as Q4_K_M")
    return value


def model_url(value: str) -> str:
    if not re.match(r"https?://[^/]+/", value) or urlsplit(value).path.rpartition("/")[2] in ("", ".", ".."):
        raise ValueError(f"{value!r} is not an http:// or https:// URL of a file")
    return value


DOWNLOAD: tuple[Flag, ...] = (
    Value(
        names=("-m", "--model"),
        target="source.path",
        metavar="FNAME",
        parse=str,
        env="LLAMA_ARG_MODEL",
        help="GGUF file to serve, or the first part of a split one (default: the built-in demo model)",
    ),
    Value(
        names=("-mu", "--model-url"),
        target="source.url",
        metavar="MODEL_URL",
        parse=model_url,
        env="LLAMA_ARG_MODEL_URL",
        help="URL to download the model from; all parts are, if it is split",
    ),
    refused(
        "-dr --docker-repo",
        "models of Docker Hub are not fetched; name a GGUF repository with -hf",
        "[<repo>/]<model>[:quant]",
        env="LLAMA_ARG_DOCKER_REPO",
    ),
    Value(
        names=("-hf", "-hfr", "--hf-repo"),
        target="source.repo",
        metavar="<user>/<model>[:quant]",
        parse=repository,
        env="LLAMA_ARG_HF_REPO",
        help="repository of Hugging Face to download the model from; without a quant Q4_K_M, Q8_0 or its first file",
    ),
    Value(
        names=("-hff", "--hf-file"),
        target="source.file",
        metavar="FILE",
        parse=str,
        env="LLAMA_ARG_HF_FILE",
        help="the file of that repository to take, in place of the one that the quant names",
    ),
    Value(
        names=("-hft", "--hf-token"),
        target="source.token",
        metavar="TOKEN",
        parse=str,
        env="HF_TOKEN",
        help="access token of Hugging Face",
    ),
    Constant(
        names=("--offline",),
        target="source.is_offline",
        value=True,
        env="LLAMA_ARG_OFFLINE",
        help="download nothing: take what the cache holds",
    ),
    Constant(names=("-cl", "--cache-list"), target="show", value="cache", help="print the downloaded models and exit"),
)
