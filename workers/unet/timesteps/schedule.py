"""Makes the scheduler of a job: a diffusers class on the model's own scheduler config."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import diffusers
import torch
from torch import Tensor

from shared.catalog.schedulers import SCHEDULERS
from shared.errors import CatalogGone, InvalidRequest
from shared.jobs.spec import JobSpec


@dataclass(frozen=True)
class Schedule:
    """A scheduler of diffusers, and the timesteps that the job walks: twice the steps for some."""

    scheduler: Any
    timesteps: Tensor  # (steps,)

    def noised(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """``latents`` as noisy as ``step`` expects them; all of the same shape."""
        return torch.as_tensor(self.scheduler.add_noise(latents, noise, self.timesteps[step : step + 1]))


class Steps(NamedTuple):
    """What of a job decides its timesteps."""

    scheduler: str
    num_inference_steps: int
    timesteps: tuple[int, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    strength: float | None = None  # of an image
    is_masked: bool = False
    eta: float = 0.0

    @classmethod
    def of(cls, spec: JobSpec) -> "Steps":
        """Those of an accepted job."""
        return cls(
            scheduler=spec.scheduler,
            num_inference_steps=spec.num_inference_steps,
            timesteps=None if spec.timesteps is None else tuple(spec.timesteps),
            sigmas=None if spec.sigmas is None else tuple(spec.sigmas),
            strength=spec.strength,
            is_masked=spec.mask_image is not None,
            eta=spec.eta,
        )

    @property
    def field(self) -> str:
        """The argument of ``set_timesteps`` that says how many steps there are, or where they lie."""
        return next((name for name in ("timesteps", "sigmas") if getattr(self, name)), "num_inference_steps")


def make_schedule(steps: Steps, config: Any, device: str) -> Schedule:
    """A fresh scheduler, as ``CLASS.from_config(config, **options)`` makes it, its timesteps set.

    Raises whatever diffusers does: `workers.unet.timesteps.rehearsal.check_steps` asks first.
    """
    kind = SCHEDULERS.get(steps.scheduler)
    if kind is None:
        raise CatalogGone("scheduler", steps.scheduler)
    scheduler = getattr(diffusers, kind.name).from_config(config, **kind.options)
    value = getattr(steps, steps.field)
    placed = list(value) if isinstance(value, tuple) else value
    scheduler.set_timesteps(**{steps.field: placed}, device=device)
    if steps.strength is None:
        return Schedule(scheduler, scheduler.timesteps)
    return Schedule(scheduler, _last_part(scheduler, steps, steps.strength))


def _last_part(scheduler: Any, steps: Steps, strength: float) -> Tensor:
    """The timesteps that ``strength`` leaves, counted as ``get_timesteps`` of diffusers' pipelines does."""
    is_counted = steps.field == "num_inference_steps"
    count = steps.num_inference_steps if is_counted else len(scheduler.timesteps)
    first = (count - min(int(count * strength), count)) * scheduler.order
    timesteps: Tensor = scheduler.timesteps[first:]
    if not len(timesteps):
        detail = f"strength {strength} leaves none of the {count} steps of {steps.scheduler!r}"
        raise InvalidRequest(detail, field="strength")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps
