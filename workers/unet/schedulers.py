"""Makes the scheduler of a job: a diffusers class on the model's own scheduler config."""

from dataclasses import dataclass
from typing import Any

import diffusers
from torch import Tensor

from shared.errors import InvalidRequest
from shared.schedulers import SCHEDULERS
from shared.specs import JobSpec


@dataclass(frozen=True)
class Schedule:
    """A scheduler of diffusers, and the timesteps that the job walks: twice the steps for some."""

    scheduler: Any
    timesteps: Tensor  # (steps,)


def make_schedule(spec: JobSpec, config: Any, device: str) -> Schedule:
    """A fresh scheduler, as ``CLASS.from_config(config, **options)`` makes it, its timesteps set."""
    kind = SCHEDULERS[spec.scheduler]
    scheduler = getattr(diffusers, kind.name).from_config(config, **kind.options)
    field, steps = _steps(spec)
    try:
        scheduler.set_timesteps(**{field: steps}, device=device)
    except ValueError as error:
        raise InvalidRequest(f"{spec.scheduler}: {error}", field=field) from error
    return Schedule(scheduler, scheduler.timesteps)


def _steps(spec: JobSpec) -> tuple[str, Any]:
    """How many steps, or where they lie, by the argument's name."""
    for field in ("timesteps", "sigmas"):
        if getattr(spec, field) is not None:
            return field, getattr(spec, field)
    return "num_inference_steps", spec.num_inference_steps
