"""Z-Image's guidance: the conditional branch comes first, and it is on from any scale above 0."""

import torch
from torch import Tensor

from workers.families.guidance import CFGBranch, Guidance


class ZImageGuidance(Guidance):
    """``cond + scale * (cond - uncond)``, in float32."""

    first = CFGBranch.COND

    def __init__(self, scale: float, normalization: float = 0.0, truncation: float = 1.0) -> None:
        """``normalization`` above 0: each image's prediction is at most so many times as long as the
        conditional one. ``truncation``: from there on, as a share of the noise that is gone, none is guided.
        """
        super().__init__(is_guided=scale > 0)
        self._scale, self._normalization, self._truncation = scale, normalization, truncation

    def is_guided_at(self, t: float) -> bool:
        """See `Guidance`."""
        if not self.is_guided or self._truncation > 1:
            return self.is_guided
        return ((1000 - torch.tensor(t, dtype=torch.float32)) / 1000).item() <= self._truncation

    def combine(self, prediction: Tensor) -> Tensor:
        """See `Guidance`."""
        if not self.is_guided:
            return prediction
        cond, uncond = prediction.chunk(2)
        guided = cond + self._scale * (cond - uncond)
        return self._shorten(guided, cond) if self._normalization > 0 else guided

    def _shorten(self, guided: Tensor, cond: Tensor) -> Tensor:
        rows = []
        for own, like in zip(guided.unbind(), cond.unbind(), strict=True):
            length = torch.linalg.vector_norm(own)
            longest = torch.linalg.vector_norm(like) * self._normalization
            rows.append(torch.where(length > longest, own * (longest / length), own))
        return torch.stack(rows)
