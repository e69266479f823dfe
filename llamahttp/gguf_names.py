"""GGUF names: what the names of a repository's files say: which one a quant means, what belongs to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DEFAULT_QUANTS = ("Q4_K_M", "Q8_0")
"""What is taken where no quant is named, before the first file."""

BESIDE = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""In the names of files that lie beside a model and are none."""

_SPLIT = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})", re.IGNORECASE)
_QUANT = re.compile(r"[-.](\w+)$", re.ASCII)


@dataclass(frozen=True, slots=True)
class GGUFName:
    """A path, taken apart: `dir/model-Q4_K_M-00001-of-00002.gguf`."""

    prefix: str
    """`dir/model-Q4_K_M`"""
    index: int
    count: int
    """Which part of how many; 1 and 1 if it is not split."""

    @property
    def quant(self) -> str:
        """`Q4_K_M`, or whatever word comes last; empty if there is none."""
        found = _QUANT.search(self.prefix)
        return found[1].upper() if found else ""

    def part(self, index: int) -> str:
        """The path of another part."""
        return f"{self.prefix}-{index:05}-of-{self.count:05}.gguf"


def read_name(path: str) -> GGUFName | None:
    """None for what is not a GGUF file."""
    if not path.endswith(".gguf"):
        return None
    stem = path.removesuffix(".gguf")
    split = _SPLIT.fullmatch(stem)
    if split is None:
        return GGUFName(stem, 1, 1)
    return GGUFName(split[1], int(split[2]), int(split[3]))


def models(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that a server can be given: models, and of a split one the first part."""
    return [path for path in paths if _is_model(path)]


def _is_model(path: str) -> bool:
    name = read_name(path)
    return name is not None and name.index == 1 and not any(word in path.rpartition("/")[2] for word in BESIDE)


def find_model(paths: Sequence[str], quant: str) -> str | None:
    """The model that `quant` means, whatever its case; of several the first, as llama-server takes it."""
    candidates = models(paths)
    for wanted in (quant,) if quant else DEFAULT_QUANTS:
        pattern = re.compile(re.escape(wanted) + "[.-]", re.IGNORECASE)
        for path in candidates:
            if pattern.search(path):
                return path
    return None if quant else next(iter(candidates), None)


def quants(paths: Iterable[str]) -> list[str]:
    """The quants that there are to choose from, each once."""
    names = (read_name(path) for path in models(paths))
    return list(dict.fromkeys(name.quant for name in names if name is not None and name.quant))


def all_parts(path: str) -> list[str]:
    """The parts of a split model, by the path or URL of one; else the path alone."""
    name = read_name(path)
    if name is None or name.count == 1:
        return [path]
    return [name.part(index) for index in range(1, name.count + 1)]


def find_mmproj(paths: Iterable[str], model: str) -> str | None:
    """The projector for images that belongs to a model: the one that lies deepest on the way to it."""
    home = model.rpartition("/")[0]
    found = [path for path in paths if path.endswith(".gguf") and "mmproj" in path]
    beside = [path for path in found if f"{home}/".startswith(f"{path.rpartition('/')[0]}/".removeprefix("/"))]
    return max(beside, key=lambda path: path.count("/"), default=None)
