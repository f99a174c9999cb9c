"""What one LoRA file adds to one weight, and how a weight is written with several such deltas."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Size, Tensor

from workers.devices.selection import find_device
from workers.lora.formats.formats import build_matrix
from workers.lora.formats.matrices import Matrix, ScratchBuffers, SelectedRows
from workers.lora.targets import FileRows

#: A part of the model and a parameter in it.
ParameterKey = tuple[str, str]
#: Numbers of a panel of rows: on a CPU products stay in a core's cache; a GPU wants few, large calls.
_CPU_PANEL, _GPU_PANEL = 1 << 18, 1 << 24


@dataclass(frozen=True)
class WeightDelta:
    """``scaling`` times a matrix, added to a weight; DoRA then scales rows, or columns, to ``magnitude``.

    DoRA as PEFT merges it: ``magnitude / |W0 + s * scaling * matrix|`` times all that was summed so far.
    The factors stay as the file stores them: parsed, they take as many bytes as in the file.
    """

    tensors: Mapping[str, Tensor]  # by the roles of `workers.lora.formats.formats`
    shape: Size  # of the weight
    scaling: float
    magnitude: Tensor | None = None  # (out, 1), or (1, in) in LyCORIS' first DoRA
    rows: FileRows | None = None  # of the matrix that ``tensors`` make up, those of the weight; None: all

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(tensor.nbytes for tensor in self.all_tensors())

    def matrix(self) -> Matrix:
        """The matrix, in float32: built only while the weight is written."""
        ranked = build_matrix(self.tensors, matrix_shape(self.shape, self.rows))
        assert ranked is not None  # it was when the file was parsed
        return ranked.matrix if self.rows is None else SelectedRows(ranked.matrix, self.rows.pieces)

    def map_tensors(self, replacement: Callable[[Tensor], Tensor]) -> "WeightDelta":
        """The same with another tensor in place of each."""
        return replace(
            self,
            tensors={role: replacement(tensor) for role, tensor in self.tensors.items()},
            magnitude=None if self.magnitude is None else replacement(self.magnitude),
        )

    def all_tensors(self) -> Iterator[Tensor]:
        """Its factors, and the magnitude that it may have."""
        yield from self.tensors.values()
        if self.magnitude is not None:
            yield self.magnitude


def matrix_shape(shape: Size, rows: FileRows | None) -> Size:
    """The shape of what a file trains, of which a weight of ``shape`` has ``rows``."""
    return shape if rows is None else Size((rows.total, *shape[1:]))


#: Deltas of one weight with their scales, in the order in which they are added.
Terms = Sequence[tuple[WeightDelta, float]]


def write(weight: Tensor, pristine: Tensor, terms: Terms, scratch: ScratchBuffers) -> None:
    """Make ``weight`` the ``pristine`` one plus ``terms``.

    Panel by panel, so that both are read once; summed in float32, rounded once to the weight's dtype.
    """
    in_place = weight.dtype == torch.float32 and weight.is_contiguous()
    matrices = [delta.matrix() for delta, _ in terms]
    factors = [
        _dora_factor(delta, matrix, scale, pristine, scratch)
        for (delta, scale), matrix in zip(terms, matrices, strict=True)
    ]
    for rows in _panels(weight):
        target = weight[rows]
        total = target if in_place else scratch.panel(target, 0)
        total.copy_(pristine[rows])
        panel = total.view(len(total), -1)
        for (delta, scale), matrix, factor in zip(terms, matrices, factors, strict=True):
            matrix.add_to(panel, rows, scale * delta.scaling, scratch)
            if factor is not None:
                panel.mul_(factor[rows] if len(factor) == len(weight) else factor)
        if not in_place:
            target.copy_(total)


def _dora_factor(
    delta: WeightDelta, matrix: Matrix, scale: float, pristine: Tensor, scratch: ScratchBuffers
) -> Tensor | None:
    """The DoRA factor of each row, ``(out, 1)``, or of each column, ``(1, columns)``; None without DoRA."""
    if delta.magnitude is None:
        return None
    magnitude = delta.magnitude.float()
    squares = torch.zeros_like(magnitude)
    for rows in _panels(pristine):
        total = scratch.panel(pristine[rows], 0).copy_(pristine[rows])
        panel = total.view(len(total), -1)
        matrix.add_to(panel, rows, scale * delta.scaling, scratch)
        panel.square_()
        if len(squares) == len(pristine):
            squares[rows] = panel.sum(1, keepdim=True)
        else:  # one norm for all columns of an input channel: its positions in the kernel
            squares += panel.view(len(panel), squares.shape[1], -1).sum((0, 2)).unsqueeze(0)
    factor = magnitude / squares.sqrt()
    columns = pristine[0].numel()
    return factor if len(factor) == len(pristine) else factor.repeat_interleave(columns // factor.shape[1], 1)


def _panels(weight: Tensor) -> Iterator[slice]:
    """The rows of a weight, a panel at a time."""
    panel = _GPU_PANEL if find_device(weight.device).has_own_memory else _CPU_PANEL
    height = max(1, panel * len(weight) // weight.numel())
    for start in range(0, len(weight), height):
        yield slice(start, start + height)
