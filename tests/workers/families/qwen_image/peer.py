"""The same Qwen-Image job as a user of diffusers writes it."""

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
        options = {**_options(spec), **_control_options(spec)}
        known = inspect.signature(peer.__call__).parameters
        torch.manual_seed(spec.image_seeds[0])  # what a masked image's latents are sampled with
        with decoded(pipe.vae) as latents:
            images = peer(**{name: options[name] for name in options if name in known}).images
    return Decoded([np.asarray(image, dtype=np.int16) for image in images], latents)


def _assemble(pipe: Any, controlnets: Sequence[Any], spec: JobSpec) -> Any:
    mode = "" if spec.image is None else "Img2Img" if spec.mask_image is None else "Inpaint"
    name = f"QwenImage{'ControlNet' if controlnets else ''}{mode}Pipeline"
    parts = {part: getattr(pipe, part) for part in ("vae", "text_encoder", "tokenizer", "transformer")}
    if len(controlnets) == 1:
        parts["controlnet"] = controlnets[0]
    elif controlnets:  # one ControlNet with several images: diffusers takes no other
        parts["controlnet"] = diffusers.QwenImageMultiControlNetModel(list(controlnets[:1]))
    scheduler = make_scheduler(spec, pipe.scheduler.config)
    peer = getattr(diffusers, name)(scheduler=scheduler, **parts)
    peer.set_progress_bar_config(disable=True)
    return peer


def _options(spec: JobSpec) -> dict[str, Any]:
    """Every option of any pipeline; each takes those that it knows."""
    generators = [torch.Generator().manual_seed(seed) for seed in spec.image_seeds]
    options: dict[str, Any] = {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "width": spec.width,
        "height": spec.height,
        "num_inference_steps": spec.num_inference_steps,
        "sigmas": spec.sigmas,
        "num_images_per_prompt": spec.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "strength": spec.strength,
    }
    for name in ("true_cfg_scale", "max_sequence_length"):
        if getattr(spec, name) is not None:
            options[name] = getattr(spec, name)
    if spec.image is not None:
        options["image"] = source_image()
    if spec.mask_image is not None:
        options["mask_image"] = mask_image()
    return options


def _control_options(spec: JobSpec) -> dict[str, Any]:
    count = len(spec.controlnets)
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
