"""Guess mode: the ControlNets guide the conditional rows alone."""

import torch
from torch import Tensor

from workers.families.guidance import Guidance
from workers.families.staged_forward import Residuals


def zero_padded(residuals: Residuals, guidance: Guidance) -> Residuals:
    """The residuals of a guided batch whose unconditional rows get zeros; ``residuals`` has the others."""

    def padded(index: int) -> Tensor:
        cond = residuals(index)
        zeros = torch.zeros_like(cond[:1]).expand(len(cond), *cond.shape[1:])
        return guidance.join(uncond=zeros, cond=cond)

    return padded
