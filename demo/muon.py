"""Muon: momentum whose update of each matrix is made orthogonal (Jordan et al., 2024).

PyTorch's own works in bf16, which is slow on a CPU without matrix units; this one stays in fp32 and treats all
matrices of a shape as one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd polynomial that pushes singular values towards 1


def orthogonalised(stack: Tensor, n_steps: int = 4) -> Tensor:
    """The nearest half-orthogonal matrices, roughly; `stack` is [n, rows, columns]."""
    a, b, c = COEFFICIENTS
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(n_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Updates have the size that AdamW's have, so that its learning rates fit."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._step_shape(parameters, group)

    def _step_shape(self, parameters: list[Tensor], group: dict[str, float]) -> None:
        directions = torch.stack([self._nesterov(parameter, group["momentum"]) for parameter in parameters])
        rows, columns = directions.shape[1:]
        scale = 0.2 * max(rows, columns) ** 0.5
        for parameter, update in zip(parameters, orthogonalised(directions), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-group["lr"] * scale)

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)
