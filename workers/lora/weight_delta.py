"""What one LoRA file does to one weight, and how a weight is written with several of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Size, Tensor

from workers.lora.formats.formats import build_matrix
from workers.lora.formats.matrices import Matrix, ScratchBuffers

#: Numbers of a panel: products stay in a core's cache until they are written. A GPU wants few, large calls.
_CORE_PANEL, _GPU_PANEL = 1 << 18, 1 << 24


@dataclass(frozen=True)
class WeightDelta:
    """Adds ``scaling`` times a matrix; DoRA then gives the rows, or the columns, the norm ``magnitude``.

    DoRA as PEFT merges it: ``magnitude / |W0 + s * scaling * delta|`` times all that was summed so far.
    What describes the matrix is kept as the file stores it: parsed, it takes as many bytes as in the file.
    """

    tensors: Mapping[str, Tensor]  # by the roles of `workers.lora.formats.formats`
    shape: Size  # of the weight
    scaling: float
    magnitude: Tensor | None = None  # (out, 1), or (1, in) in LyCORIS' first DoRA

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def delta(self) -> Matrix:
        """The matrix, in float32: for the moment in which the weight is written."""
        described = build_matrix(self.tensors, self.shape)
        assert described is not None  # it was when the file was parsed
        return described.delta

    def to(self, device: torch.device) -> "WeightDelta":
        """The same on another device; from pinned memory, so that CUDA fetches it while it computes."""

        def moved(tensor: Tensor) -> Tensor:
            is_cuda = device.type == "cuda"
            return (tensor.pin_memory() if is_cuda else tensor).to(device, non_blocking=is_cuda)

        return replace(
            self,
            tensors={role: moved(tensor) for role, tensor in self.tensors.items()},
            magnitude=None if self.magnitude is None else moved(self.magnitude),
        )

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.tensors.values()
        if self.magnitude is not None:
            yield self.magnitude


#: Changes to one weight with their scales, in the order in which they are made.
Terms = Sequence[tuple[WeightDelta, float]]


def write(weight: Tensor, pristine: Tensor, terms: Terms, scratch: ScratchBuffers) -> None:
    """Make ``weight`` the ``pristine`` one with ``terms``.

    Panel by panel, so that both are passed over once; summed in float32, rounded once to the weight's dtype.
    """
    in_place = weight.dtype == torch.float32 and weight.is_contiguous()
    deltas = [change.delta() for change, _ in terms]
    factors = [
        _dora_factor(change, delta, scale, pristine, scratch)
        for (change, scale), delta in zip(terms, deltas, strict=True)
    ]
    for rows in _panels(weight):
        target = weight[rows]
        total = target if in_place else scratch.panel(target, 0)
        total.copy_(pristine[rows])
        matrix = total.view(len(total), -1)
        for (change, scale), delta, factor in zip(terms, deltas, factors, strict=True):
            delta.add_to(matrix, rows, scale * change.scaling, scratch)
            if factor is not None:
                matrix.mul_(factor[rows] if len(factor) == len(weight) else factor)
        if not in_place:
            target.copy_(total)


def _dora_factor(
    change: WeightDelta, delta: Matrix, scale: float, pristine: Tensor, scratch: ScratchBuffers
) -> Tensor | None:
    """What each row, ``(out, 1)``, or each column, ``(1, columns)``, is multiplied by."""
    if change.magnitude is None:
        return None
    magnitude = change.magnitude.float()
    squares = torch.zeros_like(magnitude)
    for rows in _panels(pristine):
        total = scratch.panel(pristine[rows], 0).copy_(pristine[rows])
        matrix = total.view(len(total), -1)
        delta.add_to(matrix, rows, scale * change.scaling, scratch)
        matrix.square_()
        if len(squares) == len(pristine):
            squares[rows] = matrix.sum(1, keepdim=True)
        else:  # the columns of an input channel, one for each place in the kernel, have one norm
            squares += matrix.view(len(matrix), squares.shape[1], -1).sum((0, 2)).unsqueeze(0)
    factor = magnitude / squares.sqrt()
    columns = pristine[0].numel()
    return factor if len(factor) == len(pristine) else factor.repeat_interleave(columns // factor.shape[1], 1)


def _panels(weight: Tensor) -> Iterator[slice]:
    """The rows of a weight, a panel at a time."""
    panel = _CORE_PANEL if weight.device.type == "cpu" else _GPU_PANEL
    height = max(1, panel * len(weight) // weight.numel())
    for start in range(0, len(weight), height):
        yield slice(start, start + height)
