"""The same Flux job as a user of diffusers writes it."""

import inspect
from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from shared.jobs.spec import JobSpec
from tests.diffusers_peer import CONTROL, make_scheduler, mask_image, source_image
from tests.workers.families.transformer.world import Decoded, TransformerWorld, decoded


def theirs(world: TransformerWorld, spec: JobSpec) -> Decoded:
    """What diffusers' pipeline generates with the models of the worker."""
    with world.models(spec) as (pipe, controlnets):
        peer = _assemble(pipe, controlnets, spec)
        options = {**_options(spec), **_control_options(spec, len(controlnets))}
        known = inspect.signature(peer.__call__).parameters
        with decoded(pipe.vae) as latents:
            images = peer(**{name: options[name] for name in options if name in known}).images
    return Decoded([np.asarray(image, dtype=np.int16) for image in images], latents)


def _assemble(pipe: Any, controlnets: Sequence[Any], spec: JobSpec) -> Any:
    mode = "" if spec.image is None else "Img2Img" if spec.mask_image is None else "Inpaint"
    name = f"Flux{'ControlNet' if controlnets else ''}{mode}Pipeline"
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer")
    parts = {part: getattr(pipe, part) for part in names}
    if controlnets:
        multi = diffusers.FluxMultiControlNetModel
        parts["controlnet"] = controlnets[0] if len(controlnets) == 1 else multi(list(controlnets))
    scheduler = make_scheduler(spec, pipe.scheduler.config)
    peer = getattr(diffusers, name)(scheduler=scheduler, **parts)
    peer.set_progress_bar_config(disable=True)
    return peer


def _options(spec: JobSpec) -> dict[str, Any]:
    """Every option of any pipeline; each takes those that it knows."""
    generators = [torch.Generator().manual_seed(seed) for seed in spec.image_seeds]
    options: dict[str, Any] = {
        "prompt": spec.prompt,
        "prompt_2": spec.prompt_2,
        "negative_prompt": spec.negative_prompt,
        "negative_prompt_2": spec.negative_prompt_2,
        "true_cfg_scale": 1.0 if spec.true_cfg_scale is None else spec.true_cfg_scale,
        "width": spec.width,
        "height": spec.height,
        "num_inference_steps": spec.num_inference_steps,
        "sigmas": spec.sigmas,
        "guidance_scale": spec.guidance_scale,
        "num_images_per_prompt": spec.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "max_sequence_length": spec.max_sequence_length or 512,
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
    options: dict[str, Any] = {
        "control_image": [Image.open(CONTROL).convert("RGB")] * count,
        "controlnet_conditioning_scale": [one.conditioning_scale for one in spec.controlnets],
        "control_guidance_start": [one.guidance_start for one in spec.controlnets],
        "control_guidance_end": [one.guidance_end for one in spec.controlnets],
        "control_mode": [one.control_mode for one in spec.controlnets],
    }
    return {name: value[0] if count == 1 else value for name, value in options.items()}
