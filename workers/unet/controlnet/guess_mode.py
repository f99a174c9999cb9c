"""Guess mode: the ControlNets guide the conditional rows alone."""

import torch
from torch import Tensor

from workers.families.unet_forward import Residuals


def padded(residuals: Residuals, rows: int) -> Residuals:
    """The same residuals with ``rows`` rows of zeros before them, which the ControlNets were not asked
    for."""
    return ZeroPaddedResiduals(residuals, rows) if rows else residuals


class ZeroPaddedResiduals:
    def __init__(self, residuals: Residuals, rows: int) -> None:
        self._residuals = residuals
        self._rows = rows

    def mid(self) -> Tensor:
        return self._pad(self._residuals.mid())

    def down(self, index: int) -> Tensor:
        return self._pad(self._residuals.down(index))

    def _pad(self, residual: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(residual[:1]).expand(self._rows, -1, -1, -1), residual])
