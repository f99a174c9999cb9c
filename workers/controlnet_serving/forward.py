"""One pass of a ControlNet over the steps of one or several jobs, cut again into what each job gets."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from workers.controlnet_serving.inputs import Inputs
from workers.families.unet_controlnet import ControlNet
from workers.transport.step_queue import ClaimedStep


class BatchedForward:
    """The trunk has run; residuals are made one by one, for the jobs that still want them.

    Timesteps, prompts, images and scales are each job's own. Rows of different jobs share the
    convolutions' and the attention's calls and nothing else; but a larger batch may change the order of
    float sums, so a job that must be exact comes alone.
    """

    def __init__(self, controlnet: ControlNet, works: Sequence[ClaimedStep], inputs: Inputs) -> None:
        self.controlnet = controlnet
        self.works = list(works)
        self.batch = len(works)
        if not works:
            return  # every job has moved on
        for work in works:
            controlnet.check(work.part, work.request.guess)
        prepared = [inputs.prepared(controlnet, work.request) for work in works]
        images = [inputs.embedded(controlnet, work.part.image, work.request.rows) for work in works]
        times = [torch.full((work.request.rows,), work.request.t) for work in works]
        self._trunk = controlnet.trunk(
            _stacked([work.x for work in works]),
            _stacked(times),
            {name: _stacked([own[name] for own in prepared]) for name in prepared[0]},
            _stacked(images),
            works[0].part.control_mode,  # a union's steps come alone
        )

    def keep(self, wanted: Sequence[bool]) -> None:
        """Forget the works that nobody waits for any more; one flag for each."""
        if all(wanted):
            return
        rows = [flag for work, flag in zip(self.works, wanted, strict=True) for _ in range(work.request.rows)]
        self._trunk = [tensor[torch.tensor(rows, device=tensor.device)] for tensor in self._trunk]
        self.works = [work for work, flag in zip(self.works, wanted, strict=True) if flag]

    def residual(self, index: int) -> Iterator[tuple[ClaimedStep, Tensor]]:
        """Residual ``index`` of each work, scaled as the job wishes."""
        if not self.works:
            return
        made = self.controlnet.residual(self._trunk, index)
        first = 0
        for work in self.works:
            own = made[first : first + work.request.rows]
            first += work.request.rows
            yield work, self.controlnet.weigh(own, index, work.part.scale, work.request.guess)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
