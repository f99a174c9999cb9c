"""One forward pass of a ControlNet over steps of one or several jobs, and the residuals of each job."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from workers.controlnet_serving.input_cache import InputCache
from workers.families.base_controlnet import ControlNet, ControlNetForward
from workers.transport.step_queue import ClaimedStep


class BatchedForward:
    """It begins at construction; residuals are computed one by one, for jobs that still need them.

    Timesteps, prompts, images and scales are each job's own. Rows of different jobs share the calls of
    convolutions and attention and nothing else; but a larger batch may change the order of float sums, so a
    job that must be exact is computed alone.
    """

    def __init__(self, controlnet: ControlNet, steps: Sequence[ClaimedStep], inputs: InputCache) -> None:
        self.controlnet = controlnet
        self.steps = list(steps)
        self.batch = len(steps)
        if not steps:
            return  # every job is past its step
        for step in steps:
            controlnet.check(step.part.position, guess_mode=step.request.guess_mode)
        prepared = [inputs.prepared(controlnet, step.request) for step in steps]
        images = [inputs.embedded(controlnet, step.part.image, step.request.rows) for step in steps]
        device = inputs.device
        # Made on the device: copied there, it would wait for the step before. Its type is named: the default
        # is another while a library makes a model of half precision, in whatever thread.
        times = [
            torch.full((rows,), t, dtype=torch.float32, device=device.torch_device)
            for rows, t in ((step.request.rows, step.request.t) for step in steps)
        ]
        engine = controlnet.engines.select(eager_bits=any(step.request.eager_bits for step in steps))
        self.used = controlnet.used_with(engine)
        # Steps of several jobs have no scales that count within the forward: their rows are independent.
        scaled = controlnet.at_scale(steps[0].part.scale)
        self._forward: ControlNetForward = scaled.forward(
            _concatenate([device.from_host(step.x) for step in steps]),
            _concatenate(times),
            {name: _concatenate([own[name] for own in prepared]) for name in prepared[0]},
            _concatenate(images),
            steps[0].part.control_mode,  # that of all: it is part of their batch keys
            engine,
        )

    def drop_superseded(self, flags: Sequence[bool]) -> None:
        """Drop the steps whose flag is false; one flag for each."""
        if all(flags):
            return
        rows = [flag for step, flag in zip(self.steps, flags, strict=True) for _ in range(step.request.rows)]
        self._forward.select_rows(torch.tensor(rows))
        self.steps = [step for step, flag in zip(self.steps, flags, strict=True) if flag]

    def residual(self, index: int) -> Iterator[tuple[ClaimedStep, Tensor]]:
        """Residual ``index`` of each step, scaled as its job wants it; the next of `ControlNet.order`."""
        if not self.steps:
            return
        computed, residual = next(self._forward)
        assert computed == index, "residuals are asked for in the ControlNet's order"
        first = 0
        for step in self.steps:
            own = residual[first : first + step.request.rows]
            first += step.request.rows
            yield step, self.controlnet.scale(own, index, step.part.scale, guess_mode=step.request.guess_mode)


def _concatenate(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
