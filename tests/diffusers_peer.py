"""The same request as a user of diffusers writes it: what `exact` pictures are held against."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from numpy.typing import NDArray
from PIL import Image

from shared.options import SdxlOptions
from shared.schedulers import SCHEDULERS
from shared.specs import JobSpec
from tests.tiny_models import EMOJI
from workers.unet.prompts import named_for_diffusers

#: The control image of every request here.
CONTROL = EMOJI / "control" / "2_penguin.png"
#: The pipeline of a request: by whether it is SDXL's, and whether nets guide it.
PIPELINES: dict[tuple[bool, bool], Any] = {
    (False, False): StableDiffusionPipeline,
    (False, True): StableDiffusionControlNetPipeline,
    (True, False): StableDiffusionXLPipeline,
    (True, True): StableDiffusionXLControlNetPipeline,
}


def draw_with_diffusers(
    pipe: Any,
    nets: Sequence[Any],
    wanted: JobSpec,
    loras: Sequence[tuple[Path, float]] | None = None,
) -> list[NDArray[np.int16]]:
    """Pixels of every picture, ``(h, w, 3)``; ``loras`` are files and scales, loaded and fused."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    peer = _assemble(pipe, nets, wanted)
    if loras:
        peer = copy.deepcopy(peer)  # fused weights are its own
        _fuse(peer, loras)
    options = {**_options(wanted), **_net_options(wanted)}
    if isinstance(pipe, StableDiffusionXLPipeline):
        options |= wanted.model_dump(include=set(SdxlOptions.model_fields))
    with named_for_diffusers(peer.text_encoder):
        images = peer(wanted.prompt, **options).images
    return [np.asarray(image, dtype=np.int16) for image in images]


def _assemble(pipe: Any, nets: Sequence[Any], wanted: JobSpec) -> Any:
    """The pipeline of this request, of the parts of ``pipe``."""
    kind = SCHEDULERS[wanted.scheduler]
    scheduler = getattr(diffusers, kind.name).from_config(pipe.scheduler.config, **kind.options)
    parts = {**pipe.components, "scheduler": scheduler}
    if pipe.vae.dtype != pipe.unet.dtype:  # a worker keeps it upcast; diffusers casts it for each picture
        parts["vae"] = copy.deepcopy(pipe.vae).to(pipe.unet.dtype)
    if nets:
        parts["controlnet"] = list(nets)
    is_sdxl = isinstance(pipe, StableDiffusionXLPipeline)
    if is_sdxl:
        parts |= {
            "add_watermarker": False,
            "force_zeros_for_empty_prompt": pipe.config.force_zeros_for_empty_prompt,
        }
    else:
        parts["requires_safety_checker"] = False
    peer = PIPELINES[is_sdxl, bool(nets)](**parts)
    peer.set_progress_bar_config(disable=True)
    return peer


def _options(wanted: JobSpec) -> dict[str, Any]:
    rescale = {"guidance_rescale": wanted.guidance_rescale} if wanted.guidance_rescale else {}
    generators = [torch.Generator().manual_seed(seed) for seed in wanted.picture_seeds]
    return {
        **rescale,  # the ControlNet pipelines know none
        "negative_prompt": wanted.negative_prompt,
        "num_inference_steps": wanted.num_inference_steps,
        "guidance_scale": wanted.guidance_scale,
        "num_images_per_prompt": wanted.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "width": wanted.width,
        "height": wanted.height,
        "clip_skip": wanted.clip_skip,
        "eta": wanted.eta,
        "timesteps": wanted.timesteps,
        "sigmas": wanted.sigmas,
    }


def _net_options(wanted: JobSpec) -> dict[str, Any]:
    if not wanted.controlnets:
        return {}
    return {
        "image": [Image.open(CONTROL).convert("RGB")] * len(wanted.controlnets),
        "controlnet_conditioning_scale": [net.conditioning_scale for net in wanted.controlnets],
        "control_guidance_start": [net.guidance_start for net in wanted.controlnets],
        "control_guidance_end": [net.guidance_end for net in wanted.controlnets],
    }


def _fuse(pipe: Any, loras: Sequence[tuple[Path, float]]) -> None:
    names = [f"adapter{i}" for i in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        pipe.load_lora_weights(str(path.parent.resolve()), weight_name=path.name, adapter_name=name)
    pipe.set_adapters(names, [scale for _, scale in loras])
    pipe.fuse_lora(adapter_names=names)
