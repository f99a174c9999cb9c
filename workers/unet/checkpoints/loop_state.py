"""What the rest of a denoising loop depends on at a step boundary, besides the request itself.

What follows from the request alone is computed again: the scheduler's tables, the prompt, the input image and
its mask, sampled control images. The generators are used for those first, and are set afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Generator, Tensor

from workers.unet.checkpoints.scheduler_state import SchedulerState, Value


@dataclass(frozen=True)
class LoopState:
    """The state of a loop before ``step``."""

    step: int
    latents: Tensor  # n rows
    scheduler: Mapping[str, Value]  # what the steps so far have changed in it
    generators: Sequence[Tensor]  # the state of each image's, uint8

    @classmethod
    def of(
        cls, step: int, latents: Tensor, scheduler: SchedulerState, generators: Sequence[Generator]
    ) -> "LoopState":
        """The present state of a loop, some of whose tensors it shares; raises `UnsupportedState`."""
        states = [generator.get_state() for generator in generators]
        return cls(step, latents, scheduler.changed(), states)

    def restore(self, scheduler: SchedulerState, generators: Sequence[Generator]) -> None:
        """Set a scheduler and generators that were made alike; the loop goes on with `latents`."""
        scheduler.restore(self.scheduler)
        for generator, state in zip(generators, self.generators, strict=True):
            generator.set_state(state)
