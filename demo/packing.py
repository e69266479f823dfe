"""Packing: samples to token rows of a fixed length, each sample seeing only itself.

row        [ sample 0 ........ | sample 1 .... | sample 2 ....... | padding )
document     0                   1               2                  -1
target     only the tokens that the assistant writes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .data import mix
from .data.dialogue import Raw
from .template import render

ROW_SIZES = (256, 512, 1536)  # a sample goes into the shortest row that holds it


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids`, `document` and `is_target` are [n_rows, n_time]; a target is a token to be predicted."""

    ids: Tensor
    document: Tensor
    is_target: Tensor

    def mask(self) -> Tensor:
        """[n_rows, 1, n_time, n_time]: a token sees the earlier ones of its own document."""
        same = self.document[:, :, None] == self.document[:, None, :]
        return same.tril()[:, None]


@dataclass(slots=True)
class Row:
    """A row that is being filled."""

    ids: list[int] = field(default_factory=list)
    document: list[int] = field(default_factory=list)
    is_target: list[bool] = field(default_factory=list)
    n_documents: int = 0

    def add(self, ids: list[int], is_target: list[bool]) -> None:
        self.ids += ids
        self.is_target += is_target
        self.document += [self.n_documents] * len(ids)
        self.n_documents += 1


class Encoder:
    """Turns samples to ids and marks what the assistant writes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.end = tokenizer.token_to_id("<|im_end|>")
        self.end_of_text = tokenizer.token_to_id("<|endoftext|>")
        self.header = tokenizer.encode("<|im_start|>assistant\n").ids
        self.think = tokenizer.encode("<think>\n").ids

    def encode(self, sample: mix.Sample) -> tuple[list[int], list[bool]]:
        if isinstance(sample, Raw):
            return self._encode_raw(sample)
        ids = self.tokenizer.encode(render(sample.messages(), sample.tools, thinking=sample.thinking)).ids
        return ids, self._assistant_spans(ids)

    def _encode_raw(self, sample: Raw) -> tuple[list[int], list[bool]]:
        prompt = self.tokenizer.encode(sample.prompt).ids
        answer = [*self.tokenizer.encode(sample.answer).ids, self.end_of_text]
        return prompt + answer, [False] * len(prompt) + [True] * len(answer)

    def _assistant_spans(self, ids: list[int]) -> list[bool]:
        """True from behind each assistant header (and the `<think>` that the template opens) to the end marker."""
        is_target = [False] * len(ids)
        place = 0
        while place < len(ids):
            if ids[place : place + len(self.header)] != self.header:
                place += 1
                continue
            place += len(self.header)
            if ids[place : place + len(self.think)] == self.think:
                place += len(self.think)
            end = ids.index(self.end, place) + 1
            is_target[place:end] = [True] * (end - place)
            place = end
        return is_target


def _batch(rows: list[Row], n_time: int) -> Batch:
    ids = torch.zeros(len(rows), n_time, dtype=torch.long)
    document = torch.full((len(rows), n_time), -1)
    is_target = torch.zeros(len(rows), n_time, dtype=torch.bool)
    for index, row in enumerate(rows):
        n_ids = len(row.ids)
        ids[index, :n_ids] = torch.tensor(row.ids)
        document[index, :n_ids] = torch.tensor(row.document)
        is_target[index, :n_ids] = torch.tensor(row.is_target)
    return Batch(ids, document, is_target)


class Packer:
    """Rows being filled, by their size."""

    def __init__(self) -> None:
        self.rows: dict[int, list[Row]] = {n_time: [] for n_time in ROW_SIZES}

    def place(self, ids: list[int], is_target: list[bool]) -> None:
        """Into a gap of a longer row if there is one, else into a row of the sample's own size."""
        sizes = [n_time for n_time in ROW_SIZES if len(ids) <= n_time]
        for n_time in reversed(sizes):
            for row in self.rows[n_time]:
                if len(row.ids) + len(ids) <= n_time:
                    row.add(ids, is_target)
                    return
        if sizes:
            self.rows[sizes[0]].append(Row())
            self.rows[sizes[0]][-1].add(ids, is_target)

    def take(self, n_tokens: int) -> Batch | None:
        """The fullest rows of a size of which there are enough, with some left over that may still be filled."""
        for n_time, rows in self.rows.items():
            n_rows = n_tokens // n_time
            if len(rows) > n_rows + 8:
                rows.sort(key=lambda row: len(row.ids), reverse=True)
                batch = _batch(rows[:n_rows], n_time)
                del rows[:n_rows]
                return batch
        return None


def batches(encoder: Encoder, seed: int | str, n_tokens: int) -> Iterator[Batch]:
    """Endless batches of about `n_tokens` each; all rows of a batch are of one size."""
    packer = Packer()
    for sample in mix.samples(seed):
        packer.place(*encoder.encode(sample))
        batch = packer.take(n_tokens)
        if batch is not None:
            yield batch
