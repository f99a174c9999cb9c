"""One step of a job with one ControlNet, of any family: how long each part of it takes, and at least all."""

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from infra.bench.workloads.addon_jobs import GUIDANCE, PROMPT
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL
from shared.catalog.catalog import read_catalog
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from workers.devices.selection import find_device
from workers.engines.eager import EAGER
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.unet.control_images import in_range
from workers.unet.latents.noise import make_generators
from workers.unet.timesteps.schedule import TimestepSpec, make_schedule

STEPS = 2


class StepParts(NamedTuple):
    """Seconds of the parts of a step."""

    #: Of the base model: up to where it needs each residual, then to its end. One more than residuals.
    base_s: Sequence[float]
    #: Of the ControlNet: each residual after the one before, in the order in which the base needs them.
    controlnet_s: Sequence[float]
    transfer_s: float  # of one residual, from one process's memory to the other's

    @property
    def path_s(self) -> float:
        """What the step takes at least: both start together, each on its own device."""
        *parts_s, last_s = self.base_s
        base_s = controlnet_s = 0.0
        for part_s, residual_s in zip(parts_s, self.controlnet_s, strict=True):
            controlnet_s += residual_s
            base_s = max(base_s + part_s, controlnet_s + self.transfer_s)
        return base_s + last_s


class GuidedStep:
    """The first step of a workload's job with its first ControlNet: the models and their inputs."""

    @torch.inference_mode()
    def __init__(self, workload: Workload) -> None:
        name = workload.controlnets[0]
        self._model = model = load_model(workload.name, str(workload.model), "float32", "cpu")
        self._controlnet = load_controlnet(
            name, str(workload.controlnet(name)), "float32", "cpu", base=str(workload.model)
        )
        spec = _job(workload)
        size = model.size(spec.width, spec.height)
        schedule = make_schedule(
            TimestepSpec.on_model(spec, model), model.scheduler_config, find_device("cpu")
        )
        self._conditioning = model.encode_prompt(spec)
        generators = make_generators(spec)
        config = self._controlnet.model.config
        with Image.open(CONTROL) as image:
            pixels = in_range(model.read_control_image(image, size), model.facts.control_range)
        (control,) = model.control_inputs(spec, [pixels], [config], generators)
        latents = schedule.initial(model.latents.sample_noise(generators, size))
        self._x = schedule.scaled(model.guidance(spec).expand(latents), 0)
        self._t = schedule.timestep(0).tensor
        self._plan = model.facts.control_plan(config, model.denoiser_config)
        self._prepared = self._controlnet.prepare(self._conditioning.controlnet_inputs)
        self._control = self._controlnet.embed(control, len(self._x))

    @torch.inference_mode()
    def controlnet(self) -> tuple[list[float], dict[int, Tensor]]:
        """Seconds of each residual after the one before, and the residuals, as they are sent."""
        seconds, residuals = [], {}
        start = time.perf_counter()
        x = self._model.controlnet_latents(self._x)
        for index, residual in self._controlnet.forward(
            x, self._t.expand(len(x)), self._prepared, self._control
        ):
            residuals[index] = self._controlnet.scale(residual, index, 1.0, guess_mode=False)
            end = time.perf_counter()
            seconds.append(end - start)
            start = end
        return seconds, residuals

    @torch.inference_mode()
    def base(self, residuals: dict[int, Tensor]) -> list[float]:
        """Seconds of the base model up to where it needs each residual, then to its end."""
        seconds = []
        start = time.perf_counter()
        forward = self._model.staged_forward(self._x, self._t, self._conditioning, EAGER, self._plan)
        index = next(forward)
        try:
            while True:
                end = time.perf_counter()
                seconds.append(end - start)
                start = end
                index = forward.send(residuals[index])
        except StopIteration:
            seconds.append(time.perf_counter() - start)
        return seconds


def copy_s(tensor: Tensor, rounds: int = 20) -> float:
    """Seconds of one copy within memory: no transfer between processes takes less."""
    copy, seconds = torch.empty_like(tensor), []
    for _ in range(rounds):
        start = time.perf_counter()
        copy.copy_(tensor)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _job(workload: Workload) -> JobSpec:
    entry = read_catalog(workload.catalog).models[workload.name]
    return JobSpec(
        model=workload.name,
        prompt=PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        scheduler=entry.scheduler,
        seed=0,
        num_images=1,
        controlnets=[],
        loras=[],
        lora_loading=LoraLoading(),
        **{"width": None, "height": None, **workload.job_fields},
    )
