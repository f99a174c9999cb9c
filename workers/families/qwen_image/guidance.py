"""Guidance of Qwen-Image, whose result keeps the norm of the conditional prediction."""

import torch
from torch import Tensor

from workers.families.transformer.guidance import TrueGuidance


class NormPreservingGuidance(TrueGuidance):
    """`TrueGuidance`, and then each token is scaled to the norm of its conditional prediction."""

    def combine(self, prediction: Tensor) -> Tensor:
        """See `Guidance`; the rows are tokens, ``(2n, tokens, c)``."""
        combined = super().combine(prediction)
        if not self.is_guided:
            return combined
        cond = prediction.chunk(2)[1]
        wanted, found = (torch.norm(rows, dim=-1, keepdim=True) for rows in (cond, combined))
        return torch.as_tensor(combined * (wanted / found))
