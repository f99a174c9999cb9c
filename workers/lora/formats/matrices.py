"""The matrices that LoRA files describe, kept small: rows of them are computed when they are added.

A weight is a matrix here: (out, in · kh · kw) for a convolution, (out, 1) for a bias. All in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class ScratchBuffers:
    """Panels that are kept: fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def panel(self, like: Tensor, number: int) -> Tensor:
        """An undefined float32 tensor on ``like``'s device, of its shape; the same memory every time."""
        kept = self._kept.get(number)
        if kept is None or kept.numel() < like.numel() or kept.device != like.device:
            kept = self._kept[number] = torch.empty(like.numel(), device=like.device)
        return kept[: like.numel()].view(like.shape)


class Matrix(Protocol):
    """A matrix that is added to a weight."""

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        """Add ``factor`` times its ``rows`` to ``total``, which holds as many rows."""


@dataclass(frozen=True)
class LowRank:
    """LoRA and LoCon: ``b @ a``."""

    a: Tensor  # (r, columns)
    b: Tensor  # (out, r)

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        total.addmm_(self.b[rows], self.a, alpha=factor)


@dataclass(frozen=True)
class Hadamard:
    """LoHa: the product, number by number, of two low-rank matrices."""

    a1: Tensor  # (r, columns)
    b1: Tensor  # (out, r)
    a2: Tensor
    b2: Tensor

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        one = torch.mm(self.b1[rows], self.a1, out=scratch.panel(total, 1))
        other = torch.mm(self.b2[rows], self.a2, out=scratch.panel(total, 2))
        total.addcmul_(one, other, value=factor)


@dataclass(frozen=True)
class Kronecker:
    """LoKr: every number of ``w1`` times all of ``w2``."""

    w1: Tensor  # (o1, i1)
    w2: Tensor  # (o2, i2 · kh · kw), with o1 · o2 = out and i1 · i2 = in

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        row = torch.arange(rows.start, rows.start + len(total), device=total.device)
        left, right = self.w1[row // len(self.w2)], self.w2[row % len(self.w2)]
        blocks = total.view(len(total), left.shape[1], right.shape[1])
        blocks.addcmul_(left.unsqueeze(2), right.unsqueeze(1), value=factor)


@dataclass(frozen=True)
class FullMatrix:
    """A difference stored as it is."""

    matrix: Tensor  # (out, columns)

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        total.add_(self.matrix[rows], alpha=factor)


def tensors_of(delta: Matrix) -> Iterator[Tensor]:
    """All matrices it consists of."""
    yield from vars(delta).values()
