"""Runs a base model as its usual jobs do, before the first one: kernels are loaded, graphs captured."""

import torch

from shared.catalog.entries import ModelEntry
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from workers.devices.base import Device
from workers.families.base import BaseModel
from workers.families.staged_forward import run_to_end
from workers.runtime.warm_up import ROUNDS, WarmUp, is_first_run_slower
from workers.unet.latents.noise import make_generators
from workers.unet.timesteps.schedule import TimestepSpec, make_schedule

#: Forwards with and without residuals, and what comes before and after them.
PARTS = 2 * ROUNDS + 2


def needs_warm_up(model: BaseModel, device: Device) -> bool:
    """Whether its first job would be slower. Models that inpaint take more than latents: left out."""
    return is_first_run_slower(model.engines.own.name, device) and not model.is_inpainting


@torch.inference_mode()
def warm_up_model(model: BaseModel, entry: ModelEntry, device: Device, warm_up: WarmUp) -> None:
    """Compute `ROUNDS` steps of a job that gives nothing but a prompt, and decode its latents."""
    spec, engine = _usual_job(model.name, entry), model.engines.own
    size = model.size(spec.width, spec.height)
    conditioning = model.encode_prompt(spec)
    steps = TimestepSpec.on_model(spec, model)
    schedule = make_schedule(steps, model.scheduler_config, device)
    latents = schedule.initial(model.latents.sample_noise(make_generators(spec), size))
    x = schedule.scaled(model.guidance(spec).expand(latents), 0)
    t = schedule.timestep(0).tensor
    warm_up.note_part()
    residuals = model.example_residuals(x, t, conditioning)
    own = model.facts.control_plan(model.denoiser_config, model.denoiser_config)
    for plan in (None, own if residuals else None):
        for _ in range(ROUNDS):
            forward = model.staged_forward(x, t, conditioning, engine, plan)
            run_to_end(forward, next(forward), residuals if plan else None)
            device.synchronize()  # so that the share is true
            warm_up.note_part()
    model.latents.decode(latents, size)
    device.synchronize()
    warm_up.note_part()


def _usual_job(name: str, entry: ModelEntry) -> JobSpec:
    return JobSpec(
        model=name,
        prompt="",
        negative_prompt="",
        width=entry.width,
        height=entry.height,
        num_inference_steps=entry.num_inference_steps,
        guidance_scale=entry.guidance_scale,
        scheduler=entry.scheduler,
        seed=0,
        num_images=1,
        controlnets=[],
        loras=[],
        lora_loading=LoraLoading(),
    )
