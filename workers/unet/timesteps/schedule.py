"""Makes the scheduler of a job: a diffusers class on the model's own scheduler config."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
from torch import Generator, Tensor

from shared.catalog.schedulers import SCHEDULERS, SchedulerClass
from shared.errors import CatalogGone, InvalidRequest
from shared.jobs.families.asked_job import mode_of
from shared.jobs.spec import JobSpec
from workers.devices.base import Device
from workers.families.base import BaseModel


class Timestep(NamedTuple):
    """The timestep of one step, for all but the scheduler."""

    value: float  # as messages carry it
    tensor: Tensor  # as models take it: a scalar on the device


@dataclass(frozen=True)
class Schedule:
    """A scheduler of diffusers, and the timesteps that the job denoises at: twice the steps for some.

    Timesteps and tables of the scheduler are on the CPU: it branches on them, which never waits for the
    device.
    """

    scheduler: Any
    timesteps: Tensor  # (steps,), on the CPU
    device: Device

    def timestep(self, step: int) -> Timestep:
        """The timestep of ``step``."""
        return Timestep(self.timesteps[step].item(), self._on_device[step])

    def step(self, prediction: Tensor, step: int, latents: Tensor, options: dict[str, Any]) -> Tensor:
        """The latents after ``step``; ``options`` are `step_options`."""
        with self.device.non_blocking():
            t = self.timesteps[step]
            after: Tensor = self.scheduler.step(prediction, t, latents, **options, return_dict=False)[0]
        return after

    def initial(self, noise: Tensor) -> Tensor:
        """Noise as the first step expects it; flow matching takes it as it is."""
        return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def scaled(self, x: Tensor, step: int) -> Tensor:
        """Latents as the model takes them at ``step``; flow matching does not scale them."""
        if not hasattr(self.scheduler, "scale_model_input"):
            return x
        with self.device.non_blocking():
            return torch.as_tensor(self.scheduler.scale_model_input(x, self.timesteps[step]))

    def noised(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """``latents`` as noisy as ``step`` expects them; all of the same shape."""
        t = self.timesteps[step : step + 1]
        with self.device.non_blocking():
            if hasattr(self.scheduler, "scale_noise"):  # of flow matching
                return torch.as_tensor(self.scheduler.scale_noise(latents, t, noise))
            return torch.as_tensor(self.scheduler.add_noise(latents, noise, t))

    def step_options(self, generators: list[Generator], eta: float) -> dict[str, Any]:
        """What this scheduler's ``step`` takes beyond the usual: its own noise, and how much of it."""
        known = inspect.signature(self.scheduler.step).parameters
        options: dict[str, Any] = {}
        if "eta" in known:
            options["eta"] = eta
        if "generator" in known:
            options["generator"] = generators if len(generators) > 1 else generators[0]
        return options

    @cached_property
    def _on_device(self) -> Tensor:
        return self.device.from_host(self.timesteps)


class TimestepSpec(NamedTuple):
    """What of a job decides its timesteps."""

    scheduler: str
    num_inference_steps: int
    timesteps: tuple[int, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    strength: float | None = None  # of an image
    is_masked: bool = False
    eta: float = 0.0
    shift: float | None = None  # of flow matching, in place of the config's
    sets_begin_index: bool = False  # `FamilyFacts.sets_begin_index`; ``strength`` sets one of its own
    #: Arguments of ``set_timesteps`` that the model brings along (`BaseModel.timestep_options`), as JSON.
    options: str = "{}"

    @classmethod
    def of(cls, spec: JobSpec, options: Mapping[str, Any] | None = None) -> "TimestepSpec":
        """Those of an accepted job, on a model with these ``options``, of which the job may set ``mu``."""
        own = {} if spec.mu is None else {"mu": spec.mu}
        return cls(
            options=json.dumps({**(options or {}), **own}, sort_keys=True),
            scheduler=spec.scheduler,
            num_inference_steps=spec.num_inference_steps,
            timesteps=None if spec.timesteps is None else tuple(spec.timesteps),
            sigmas=None if spec.sigmas is None else tuple(spec.sigmas),
            strength=spec.strength,
            is_masked=spec.mask_image is not None,
            eta=spec.eta,
            shift=spec.shift,
        )

    @classmethod
    def on_model(cls, spec: JobSpec, model: BaseModel) -> "TimestepSpec":
        """Those of an accepted job on its model."""
        steps = cls.of(spec, model.timestep_options(spec))
        mode, has_controlnets = mode_of(spec.image, spec.mask_image), bool(spec.controlnets)
        if not model.facts.begins_with_noise(mode, has_controlnets=has_controlnets):
            return steps
        sets_begin_index = model.facts.sets_begin_index(has_controlnets=has_controlnets)
        return steps._replace(strength=None, is_masked=False, sets_begin_index=sets_begin_index)

    @property
    def field(self) -> str:
        """The argument of ``set_timesteps`` that says how many steps there are, or where they lie."""
        return next((name for name in ("timesteps", "sigmas") if getattr(self, name)), "num_inference_steps")


def make_schedule(steps: TimestepSpec, config: Any, device: Device) -> Schedule:
    """A fresh scheduler, as ``CLASS.from_config(config, **options)`` makes it, its timesteps set.

    ``device`` is that of the latents: some schedulers compute their tables there, and the bits depend on it.

    Raises whatever diffusers does: `workers.unet.timesteps.dry_run.check_steps` asks first.
    """
    kind = SCHEDULERS.get(steps.scheduler)
    if kind is None:
        raise CatalogGone("scheduler", steps.scheduler)
    own_options = kind.options | _shift(steps, kind, config)
    scheduler = getattr(diffusers, kind.name).from_config(config, **own_options)
    value = getattr(steps, steps.field)
    placed = list(value) if isinstance(value, tuple) else value
    options = json.loads(steps.options)
    if "sigmas" in options:
        options["sigmas"] = np.array(options["sigmas"])  # not every class takes a list
    own = {} if "sigmas" in options else {steps.field: placed}
    scheduler.set_timesteps(**own, **options, device=device.torch_device)
    scheduler.timesteps = device.to_host(scheduler.timesteps).wait()
    _keep_scalings(scheduler, device)
    if steps.strength is None:
        if steps.sets_begin_index and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        return Schedule(scheduler, scheduler.timesteps, device)
    return Schedule(scheduler, _last_part(scheduler, steps, steps.strength), device)


def _shift(steps: TimestepSpec, kind: SchedulerClass, config: Any) -> dict[str, Any]:
    """The option for the job's static shift, or for the model's, which its config may call otherwise."""
    if kind.shift_option is None:
        return {}
    if steps.shift is not None:
        return {kind.shift_option: steps.shift}
    own = config.get(kind.shift_option, config.get("shift", 1.0))
    return {} if kind.shift_option == "shift" else {kind.shift_option: own}


def _keep_scalings(scheduler: Any, device: Device) -> None:
    """Have LCM's boundary scalings on the device, as they are with diffusers' timesteps.

    A scalar on the device is rounded to the type of the latents that it multiplies, one of the CPU is not.
    """
    name = "get_scalings_for_boundary_condition_discrete"
    scalings = getattr(scheduler, name, None)
    if scalings is not None:
        setattr(scheduler, name, lambda t: tuple(device.from_host(scaling) for scaling in scalings(t)))


def _last_part(scheduler: Any, steps: TimestepSpec, strength: float) -> Tensor:
    """The timesteps that ``strength`` leaves, counted as ``get_timesteps`` of diffusers' pipelines does."""
    is_counted = steps.field == "num_inference_steps"
    count = steps.num_inference_steps if is_counted else len(scheduler.timesteps)
    first = SCHEDULERS[steps.scheduler].skipped_steps(count, strength) * scheduler.order
    timesteps: Tensor = scheduler.timesteps[first:]
    if not len(timesteps):
        detail = f"strength {strength} leaves none of the {count} steps of {steps.scheduler!r}"
        raise InvalidRequest(detail, field="strength")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps
