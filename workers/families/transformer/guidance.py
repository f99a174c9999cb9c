"""Guidance with a scale of its own beside the one that is distilled into the weights."""

from torch import Tensor

from shared.jobs.spec import JobSpec
from workers.families.guidance import Guidance


class TrueGuidance(Guidance):
    """``uncond + scale * (cond - uncond)``, of two forwards (see `Guidance`).

    Without a negative prompt there is none, whatever the scale; an empty one is a negative prompt.
    """

    def __init__(self, spec: JobSpec, default_scale: float) -> None:
        """``default_scale``: of a job that says none."""
        self._scale = default_scale if spec.true_cfg_scale is None else spec.true_cfg_scale
        super().__init__(is_guided=self._scale > 1 and spec.negative_prompt is not None)

    def combine(self, prediction: Tensor) -> Tensor:
        """See `Guidance`."""
        if not self.is_guided:
            return prediction
        uncond, cond = prediction.chunk(2)
        return uncond + self._scale * (cond - uncond)
