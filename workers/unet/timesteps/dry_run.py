"""Runs a job's timesteps once with tiny latents: what diffusers cannot run fails before the first step.

Whether a scheduler can make a number of steps depends on the model's scheduler config in ways that only the
scheduler itself knows: two timesteps that fall together let some classes run past their end in the last
step, or divide by zero. Whatever diffusers runs to the end with finite values is accepted.
"""

import json
from functools import lru_cache
from typing import Any

import torch

from shared.errors import InvalidRequest
from shared.jobs.spec import JobSpec
from workers.devices.selection import find_device
from workers.families.guidance import NO_GUIDANCE
from workers.unet.denoising.denoise import InitialLatents, denoise
from workers.unet.latents.inpaint import MaskBlending
from workers.unet.timesteps.schedule import Schedule, TimestepSpec, make_schedule

#: A scheduler that works with a config at all can make this many.
_FEW = 5


def check_steps(spec: JobSpec, config: Any, steps: TimestepSpec | None = None) -> None:
    """Raise `InvalidRequest` if the scheduler of the job cannot run its steps on this scheduler config.

    ``steps`` are the job's on its model; None: on one that has no say in them.
    """
    steps, text = steps or TimestepSpec.of(spec), json.dumps(dict(config), sort_keys=True, default=list)
    why = find_schedule_error(steps, text)
    if why is None:
        return
    who, field = (
        f"scheduler {spec.scheduler!r} with the scheduler config of model {spec.model!r}",
        steps.field,
    )
    are_given = steps.options != TimestepSpec.of(spec).options  # by the model
    if not are_given and find_schedule_error(TimestepSpec(spec.scheduler, _FEW), text) is not None:
        raise InvalidRequest(f"scheduler: {who} does not work: {why}", field="scheduler")
    hint = _hint(steps, text) if field == "num_inference_steps" and not are_given else ""
    raise InvalidRequest(f"{field}: {who} cannot walk {getattr(spec, field)}: {why}{hint}", field=field)


def _hint(steps: TimestepSpec, config: str) -> str:
    """A number of steps below that works, found by halving."""
    works, fails = _FEW, steps.num_inference_steps
    while fails - works > 1:
        middle = (works + fails) // 2
        if find_schedule_error(steps._replace(num_inference_steps=middle), config) is None:
            works = middle
        else:
            fails = middle
    return f"; {works} steps work"


@lru_cache(maxsize=4096)
@torch.inference_mode()
def find_schedule_error(steps: TimestepSpec, config: str) -> str | None:
    """Why diffusers does not run ``steps`` to their end with finite values; ``config`` is JSON.

    Raises `InvalidRequest` where ``strength`` leaves no step.
    """
    try:
        latents = _run_steps(steps, make_schedule(steps, json.loads(config), find_device("cpu")))
    except InvalidRequest:
        raise
    except Exception as error:  # diffusers raises what its arithmetic happens to raise
        return str(error).strip().partition("\n")[0] or repr(error)
    return (
        None if bool(latents.isfinite().all()) else "two of its timesteps fall together: it divides by zero"
    )


def _run_steps(steps: TimestepSpec, schedule: Schedule) -> torch.Tensor:
    """The loop of a job, with a model that divides its input by two and latents of one number."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, 1, 1, generator=generator)
    start = InitialLatents(schedule.initial(noise))
    if steps.strength is not None:
        start = InitialLatents(schedule.noised(noise / 2, noise, 0))
    if steps.is_masked:
        start = MaskBlending(start.latents, schedule, torch.ones_like(noise), noise / 2, noise)
    return denoise(
        lambda x, i, t: x / 2,
        schedule,
        start,
        guidance=NO_GUIDANCE,
        step_options=schedule.step_options([generator], steps.eta),
        before_step=lambda step: None,
        after_step=lambda step, latents: None,
    )
