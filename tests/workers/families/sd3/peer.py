"""The same job of Stable Diffusion 3 as a user of diffusers writes it."""

import inspect
from collections.abc import Sequence
from typing import Any

import diffusers
import torch
from PIL import Image

from shared.jobs.spec import JobSpec
from tests.diffusers_peer import CONTROL, make_scheduler, mask_image, run_pipeline, source_image
from tests.workers.families.transformer.world import Decoded, TransformerWorld, decoded


def theirs(world: TransformerWorld, spec: JobSpec, image_processor: Any = None) -> Decoded:
    """What diffusers' pipeline generates with the worker's models, or with another ``image_processor``."""
    with world.models(spec) as (pipe, controlnets):
        peer = _assemble(pipe, controlnets, spec)
        peer.image_processor = image_processor or peer.image_processor
        options = {**_options(spec), **_control_options(spec, len(controlnets))}
        known = inspect.signature(peer.__call__).parameters
        torch.manual_seed(spec.image_seeds[0])  # what control latents are sampled with
        given = {name: options[name] for name in options if name in known}
        with decoded(pipe.vae) as latents:
            images = run_pipeline(peer, **given)
    return Decoded(images, latents)


def _assemble(pipe: Any, controlnets: Sequence[Any], spec: JobSpec) -> Any:
    mode = "" if spec.image is None else "Img2Img" if spec.mask_image is None else "Inpaint"
    kind = f"ControlNet{'Inpainting' if mode else ''}" if controlnets else mode
    name = f"StableDiffusion3{kind}Pipeline"
    parts = {part: module for part, module in pipe.components.items() if part != "scheduler"}
    if controlnets:
        multi = diffusers.SD3MultiControlNetModel
        parts["controlnet"] = controlnets[0] if len(controlnets) == 1 else multi(list(controlnets))
    scheduler = make_scheduler(spec, pipe.scheduler.config)
    peer = getattr(diffusers, name)(scheduler=scheduler, **parts)
    peer.set_progress_bar_config(disable=True)
    return peer


def _options(spec: JobSpec) -> dict[str, Any]:
    """Every option of any pipeline; each takes those that it knows."""
    generators = [torch.Generator().manual_seed(seed) for seed in spec.image_seeds]
    fields = ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
    options: dict[str, Any] = {field: getattr(spec, field) for field in fields}
    options |= {
        "width": spec.width,
        "height": spec.height,
        "num_inference_steps": spec.num_inference_steps,
        "sigmas": spec.sigmas,
        "guidance_scale": spec.guidance_scale,
        "num_images_per_prompt": spec.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "max_sequence_length": spec.max_sequence_length or 256,
        "clip_skip": spec.clip_skip,
        "mu": spec.mu,
        "strength": spec.strength,
    }
    if spec.image is not None:
        options["image"] = source_image()
    if spec.mask_image is not None:
        options["mask_image"] = mask_image()
    return options


def _control_options(spec: JobSpec, count: int) -> dict[str, Any]:
    if not count:
        return {}
    shown = Image.open(CONTROL).convert("RGB") if spec.image is None else source_image()
    options: dict[str, list[Any]] = {
        "control_image": [shown] * count,
        "controlnet_conditioning_scale": [one.conditioning_scale for one in spec.controlnets],
        "control_guidance_start": [one.guidance_start for one in spec.controlnets],
        "control_guidance_end": [one.guidance_end for one in spec.controlnets],
    }
    given = {name: value[0] if count == 1 else value for name, value in options.items()}
    return given if spec.mask_image is None else {**given, "control_mask": mask_image()}
