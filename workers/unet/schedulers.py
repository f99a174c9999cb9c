"""Makes the scheduler of a job: a diffusers class on the model's own scheduler config."""

from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor

from shared.errors import InvalidRequest
from shared.schedulers import SCHEDULERS
from shared.specs import JobSpec


@dataclass(frozen=True)
class Schedule:
    """A scheduler of diffusers, and the timesteps that the job walks: twice the steps for some."""

    scheduler: Any
    timesteps: Tensor  # (steps,)

    def noised(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """``latents`` as noisy as ``step`` expects them; all of the same shape."""
        return torch.as_tensor(self.scheduler.add_noise(latents, noise, self.timesteps[step : step + 1]))


def make_schedule(spec: JobSpec, config: Any, device: str) -> Schedule:
    """A fresh scheduler, as ``CLASS.from_config(config, **options)`` makes it, its timesteps set."""
    kind = SCHEDULERS[spec.scheduler]
    scheduler = getattr(diffusers, kind.name).from_config(config, **kind.options)
    field, steps = _steps(spec)
    try:
        scheduler.set_timesteps(**{field: steps}, device=device)
    except ValueError as error:
        raise InvalidRequest(f"{spec.scheduler}: {error}", field=field) from error
    if spec.strength is None:
        return Schedule(scheduler, scheduler.timesteps)
    return Schedule(scheduler, _last_part(scheduler, spec, field))


def _last_part(scheduler: Any, spec: JobSpec, field: str) -> Tensor:
    """The timesteps that ``strength`` leaves, counted as ``get_timesteps`` of diffusers' pipelines does."""
    steps = spec.num_inference_steps if field == "num_inference_steps" else len(scheduler.timesteps)
    assert spec.strength is not None, "only an image has a strength"
    first = (steps - min(int(steps * spec.strength), steps)) * scheduler.order
    timesteps: Tensor = scheduler.timesteps[first:]
    if not len(timesteps):
        detail = f"strength {spec.strength} leaves none of the {steps} steps of {spec.scheduler!r}"
        raise InvalidRequest(detail, field="strength")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps


def _steps(spec: JobSpec) -> tuple[str, Any]:
    """How many steps, or where they lie, by the argument's name."""
    for field in ("timesteps", "sigmas"):
        if getattr(spec, field) is not None:
            return field, getattr(spec, field)
    return "num_inference_steps", spec.num_inference_steps
