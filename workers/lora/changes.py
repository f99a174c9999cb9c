"""What a LoRA does to one weight, kept small: panels of rows of it are computed when they are written.

A weight is a matrix here: (out, in · kh · kw) for a convolution, (out, 1) for a bias. All in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor, device

#: Numbers of a panel: products stay in a core's cache until they are written. A GPU wants few, large calls.
_PANEL = {"cpu": 1 << 18, "cuda": 1 << 24}


class Scratch:
    """Panels that are kept: fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def panel(self, like: Tensor, number: int) -> Tensor:
        """An undefined float32 tensor on ``like``'s device, of its shape; the same memory every time."""
        kept = self._kept.get(number)
        if kept is None or kept.numel() < like.numel() or kept.device != like.device:
            kept = self._kept[number] = torch.empty(like.numel(), device=like.device)
        return kept[: like.numel()].view(like.shape)


class Delta(Protocol):
    """A matrix that is added to a weight."""

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: Scratch) -> None:
        """Add ``factor`` times its ``rows`` to ``total``, which holds as many rows."""

    def tensors(self) -> Iterator[Tensor]:
        """All it consists of."""


@dataclass(frozen=True)
class LowRank:
    """LoRA: ``b @ a``."""

    a: Tensor  # (r, columns)
    b: Tensor  # (out, r)

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: Scratch) -> None:
        total.addmm_(self.b[rows], self.a, alpha=factor)

    def tensors(self) -> Iterator[Tensor]:
        yield from (self.a, self.b)


T = TypeVar("T", bound=Delta)


@dataclass(frozen=True)
class Change:
    """What one file does to one weight: adds ``scaling * delta``."""

    delta: Delta
    scaling: float
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", sum(tensor.nbytes for tensor in self.delta.tensors()))

    def to(self, where: device) -> "Change":
        """The same on another device; from pinned memory, so that a GPU fetches it while it computes."""
        return replace(self, delta=_moved(self.delta, where))


def _moved(delta: T, where: device) -> T:
    tensors = {name: tensor.pin_memory().to(where, non_blocking=True) for name, tensor in vars(delta).items()}
    return type(delta)(**tensors)


def write(weight: Tensor, pristine: Tensor, terms: list[tuple[Change, float]], scratch: Scratch) -> None:
    """Make ``weight`` the ``pristine`` one plus ``terms``, changes and their scales, in their order.

    Panel by panel, so that both are passed over once; summed in float32, rounded once to the weight's dtype.
    """
    in_place = weight.dtype == torch.float32 and weight.is_contiguous()
    for rows in panels(weight):
        base, target = pristine[rows], weight[rows]
        total = target if in_place else scratch.panel(target, 0)
        total.copy_(base)
        matrix = total.view(len(total), -1)
        for change, scale in terms:
            change.delta.add_to(matrix, rows, scale * change.scaling, scratch)
        if not in_place:
            target.copy_(total)


def panels(weight: Tensor) -> Iterator[slice]:
    """The rows of a weight, a panel at a time."""
    height = max(1, _PANEL[weight.device.type] * len(weight) // weight.numel())
    for start in range(0, len(weight), height):
        yield slice(start, start + height)
