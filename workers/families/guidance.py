"""Classifier-free guidance (Ho & Salimans 2022): the rows of a step, and what becomes of predictions."""

from abc import ABC, abstractmethod
from enum import Enum

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor


class CFGBranch(Enum):
    """Which rows of a step's batch; `CFGBranch.BOTH` is the whole batch, guided or not."""

    BOTH = "both"
    UNCOND = "uncond"
    COND = "cond"


class Guidance(ABC):
    """How one job is guided. A guided batch of ``n`` images has ``2n`` rows, one branch after the other."""

    #: Which branch's rows come first.
    first = CFGBranch.UNCOND

    def __init__(self, *, is_guided: bool) -> None:
        self.is_guided = is_guided

    def is_guided_at(self, t: float) -> bool:
        """Whether a step at timestep ``t`` has both branches, or else the conditional one alone."""
        return self.is_guided

    @abstractmethod
    def combine(self, prediction: Tensor) -> Tensor:
        """The predictions of both branches, ``(2n, …)``, as the scheduler takes them, ``(n, …)``.

        What is not guided is returned as it is.
        """

    def expand(self, latents: Tensor) -> Tensor:
        """Latents ``(n, …)`` for all rows of a step: ``(2n, …)`` when guided."""
        return torch.cat([latents] * 2) if self.is_guided else latents

    def rows(self, branch: CFGBranch, count: int) -> slice:
        """The rows of ``branch`` in a batch of ``count``: all of them if there is no guidance."""
        if branch is CFGBranch.BOTH or not self.is_guided:
            return slice(None)
        return slice(0, count // 2) if branch is self.first else slice(count // 2, None)

    def join(self, *, uncond: Tensor, cond: Tensor) -> Tensor:
        """Tensors of both branches, ``(n, …)`` each, as one batch ``(2n, …)``."""
        return torch.cat([uncond, cond] if self.first is CFGBranch.UNCOND else [cond, uncond])


class ClassifierFreeGuidance(Guidance):
    """Stable Diffusion's: ``uncond + scale * (cond - uncond)`` (eq. 6), above scale 1, as diffusers decides.

    ``rescale`` above 0 brings the spread back towards the conditional branch's (arXiv 2305.08891, 3.4).
    """

    def __init__(self, scale: float, rescale: float = 0.0) -> None:
        super().__init__(is_guided=scale > 1)
        self._scale, self._rescale = scale, rescale

    def combine(self, prediction: Tensor) -> Tensor:
        """See `Guidance`."""
        if not self.is_guided:
            return prediction
        uncond, cond = prediction.chunk(2)
        noise = uncond + self._scale * (cond - uncond)
        return torch.as_tensor(rescale_noise_cfg(noise, cond, self._rescale)) if self._rescale > 0 else noise


#: Of a job that has no unconditional branch.
NO_GUIDANCE = ClassifierFreeGuidance(1.0)
