"""What a ControlNet computes in one step of a workload's job, of any family."""

import time

import torch
from PIL import Image

from infra.bench.workloads.addon_jobs import GUIDANCE, PROMPT
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL
from shared.catalog.catalog import read_catalog
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from workers.devices.selection import find_device
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.unet.control_images import in_range
from workers.unet.latents.noise import make_generators
from workers.unet.timesteps.schedule import TimestepSpec, make_schedule

STEPS = 2


class GuidedStep:
    """The first step of a workload's job with its first ControlNet: the ControlNet and its inputs."""

    @torch.inference_mode()
    def __init__(self, workload: Workload) -> None:
        name = workload.controlnets[0]
        model = load_model(workload.name, str(workload.model), "float32", "cpu")
        self._controlnet = load_controlnet(
            name, str(workload.controlnet(name)), "float32", "cpu", base=str(workload.model)
        )
        spec = _job(workload)
        size = model.size(spec.width, spec.height)
        schedule = make_schedule(
            TimestepSpec.on_model(spec, model), model.scheduler_config, find_device("cpu")
        )
        conditioning = model.encode_prompt(spec)
        generators = make_generators(spec)
        with Image.open(CONTROL) as image:
            pixels = in_range(model.read_control_image(image, size), model.facts.control_range)
        (control,) = model.control_inputs(spec, [pixels], [self._controlnet.model.config], generators)
        latents = schedule.initial(model.latents.sample_noise(generators, size))
        x = schedule.scaled(model.guidance(spec).expand(latents), 0)
        self._x = model.controlnet_latents(x)
        self._t = schedule.timestep(0).tensor.expand(len(x))
        self._prepared = self._controlnet.prepare(conditioning.controlnet_inputs)
        self._control = self._controlnet.embed(control, len(x))

    @torch.inference_mode()
    def compute_residuals(self) -> list[float]:
        """Compute them all, as they are sent; returns the seconds of each after the one before."""
        seconds = []
        start = time.perf_counter()
        for index, residual in self._controlnet.forward(self._x, self._t, self._prepared, self._control):
            self._controlnet.scale(residual, index, 1.0, guess_mode=False)
            end = time.perf_counter()
            seconds.append(end - start)
            start = end
        return seconds


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
