"""The matrices that LoRA files describe, kept as factors: their rows are computed when they are added.

A weight is a matrix here: (out, in · kh · kw) for a convolution, (out, 1) for a bias. All in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class ScratchBuffers:
    """Buffers that are used again: page faults of new ones cost more than the arithmetic."""

    def __init__(self) -> None:
        self._buffers: dict[int, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Memory of all buffers."""
        return sum(buffer.nbytes for buffer in list(self._buffers.values()))

    def release(self) -> None:
        """Let go of the buffers."""
        self._buffers = {}

    def panel(self, like: Tensor, number: int) -> Tensor:
        """An uninitialized float32 tensor of ``like``'s shape and device; buffer ``number`` every time."""
        buffer = self._buffers.get(number)
        if buffer is None or buffer.numel() < like.numel() or buffer.device != like.device:
            buffer = self._buffers[number] = torch.empty(like.numel(), device=like.device)
        return buffer[: like.numel()].view(like.shape)


class Matrix(Protocol):
    """A matrix that can be added to a weight."""

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
    """LoHa: the elementwise product of two low-rank matrices."""

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
    """LoKr: the Kronecker product of ``w1`` and ``w2``."""

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


@dataclass(frozen=True)
class SelectedRows:
    """Some rows of a matrix, the ``pieces`` one below the other: what cannot be divided is added in part."""

    matrix: Matrix
    pieces: tuple[slice, ...]

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        begin = 0  # of a piece, among the selected rows
        for piece in self.pieces:
            end = begin + piece.stop - piece.start
            first, last = max(begin, rows.start), min(end, rows.start + len(total))
            if first < last:
                target, shift = total[first - rows.start : last - rows.start], piece.start - begin
                self.matrix.add_to(target, slice(first + shift, last + shift), factor, scratch)
            begin = end


def tensors_of(delta: Matrix) -> Iterator[Tensor]:
    """All tensors that a matrix consists of."""
    yield from tensors_of(delta.matrix) if isinstance(delta, SelectedRows) else vars(delta).values()
