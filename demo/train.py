"""Train: Muon for the matrices, AdamW for the rest; resumes from its checkpoint.

Run as a module: `python -m demo.train --steps 2330`. Nothing depends on the clock, so the process may be paused at
will. The learning rate rises, stays, and falls to zero over the last part of `--steps`; a run resumed with another
`--steps` follows the new plan.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import tokenizer
from .model import Model, Shape
from .muon import Muon
from .packing import Batch, Encoder, batches

CHECKPOINT = tokenizer.WORK / "checkpoint.pt"
N_WARM_UP = 60
FALLING = 0.45  # share of the steps over which the learning rate falls
LR_MUON, LR_ADAM = 0.003, 0.003
AVERAGE = 0.99  # decay per step of the averaged weights, which are the ones exported


class Optimizers:
    """Both optimizers, seen as one."""

    def __init__(self, model: Model) -> None:
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embedding" in name]
        self.parts: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=LR_MUON, weight_decay=0.05),
            torch.optim.AdamW(others, lr=LR_ADAM, betas=(0.9, 0.98), weight_decay=0.0),
        ]

    def step(self, factor: float) -> None:
        for part, lr in zip(self.parts, (LR_MUON, LR_ADAM), strict=True):
            for group in part.param_groups:
                group["lr"] = lr * factor
            part.step()
            part.zero_grad(set_to_none=True)


def lr_factor(step: int, n_steps: int) -> float:
    rising = min(1.0, (step + 1) / N_WARM_UP)
    falling = min(1.0, (n_steps - step) / (FALLING * n_steps))
    return rising * max(0.0, falling)


def loss_of(model: Model, forward: Any, batch: Batch) -> Tensor:
    """Mean cross-entropy of the assistant's tokens."""
    hidden = forward(batch.ids, batch.mask())
    is_target = batch.is_target[:, 1:]
    logits = model.logits(hidden[:, :-1][is_target])
    return functional.cross_entropy(logits, batch.ids[:, 1:][is_target])


def save(path: Path, step: int, model: Model, average: Model, optimizers: Optimizers) -> None:
    """Write the checkpoint beside the old one, then take its place."""
    state = {
        "step": step,
        "shape": asdict(model.shape),
        "weights": model.state_dict(),
        "average": average.state_dict(),
        "optimizers": [part.state_dict() for part in optimizers.parts],
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def restore(path: Path, model: Model, average: Model, optimizers: Optimizers) -> int:
    """Load a checkpoint if there is one; the step to go on with."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["weights"])
    average.load_state_dict(state["average"])
    for part, content in zip(optimizers.parts, state["optimizers"], strict=True):
        part.load_state_dict(content)
    return int(state["step"])


def run(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    model = Model(Shape())
    average = copy.deepcopy(model)
    optimizers = Optimizers(model)
    first = restore(arguments.checkpoint, model, average, optimizers)
    forward = torch.compile(model) if arguments.compile else model
    # a resumed run draws new samples instead of repeating the first ones
    stream = batches(Encoder(tokenizer.load()), f"train {arguments.seed} {first}", arguments.batch_tokens)
    began, n_seen, recent = time.monotonic(), 0, 0.0
    for step in range(first, arguments.steps):
        batch = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, forward, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(lr_factor(step, arguments.steps))
        with torch.no_grad():
            for mean, new in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(new, 1 - min(AVERAGE, step / (step + 10)))
        n_seen += batch.ids.numel()
        recent = loss.item() if step == first else 0.95 * recent + 0.05 * loss.item()
        if step % 20 == 0:
            print(f"step {step} loss {recent:.4f} tokens/s {n_seen / (time.monotonic() - began):.0f}", flush=True)
        if (step + 1) % arguments.save_every == 0 or step + 1 == arguments.steps:
            save(arguments.checkpoint, step + 1, model, average, optimizers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2330)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--save-every", type=int, default=80)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    arguments.checkpoint.parent.mkdir(exist_ok=True)
    run(arguments)


if __name__ == "__main__":
    main()
