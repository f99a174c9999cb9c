"""Makes the scheduler of a job: a diffusers class on the model's own scheduler config."""

from typing import Any

import diffusers

from shared.errors import InvalidRequest
from shared.schedulers import SCHEDULERS


def make_scheduler(name: str, config: Any, steps: int, device: str) -> Any:
    """A fresh scheduler with its timesteps set, as ``CLASS.from_config(config, **options)`` makes it."""
    kind = SCHEDULERS[name]
    scheduler = getattr(diffusers, kind.name).from_config(config, **kind.options)
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}", field="num_inference_steps") from error
    return scheduler
