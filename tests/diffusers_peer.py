"""The same request as a user of diffusers writes it: what `exact` images are compared with."""

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.catalog.schedulers import SCHEDULERS
from shared.jobs.options import FamilyOptions
from shared.jobs.spec import JobSpec
from tests.tiny_models import EMOJI
from workers.families.unet.stable_diffusion import named_for_diffusers

#: The control image of every request here.
CONTROL = EMOJI / "control" / "2_penguin.png"
#: The input image of every request that has one.
SOURCE = EMOJI / "control" / "colour_fish.png"
#: Where it is repainted, if the request has a mask: left, top, right, bottom as shares of the sides.
MASKED = (0.2, 0.3, 0.7, 0.9)
#: Pipelines that decode latents as if no VAE shifted them.
_FORGETS_SHIFT = frozenset(
    {
        "StableDiffusion3InpaintPipeline",
        "StableDiffusionXLControlNetInpaintPipeline",
        "StableDiffusionXLControlNetUnionInpaintPipeline",
    }
)


def generate_with_diffusers(
    pipe: Any,
    controlnets: Sequence[Any],
    wanted: JobSpec,
    loras: Sequence[tuple[Path, float]] | None = None,
) -> list[NDArray[np.int16]]:
    """Pixels of every image, ``(h, w, 3)``; ``loras`` are files and scales, loaded and fused."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    peer = _assemble(pipe, controlnets, wanted)
    if loras:
        peer = copy.deepcopy(peer)  # fused weights are its own
        fuse(peer, loras)
    options = {**_options(wanted), **_image_options(wanted)}
    if isinstance(pipe, StableDiffusionXLPipeline):
        options |= wanted.model_dump(include=set(FamilyOptions.model_fields))
    known = inspect.signature(peer.__call__).parameters
    with named_for_diffusers(peer.text_encoder):
        given = {name: options[name] for name in options if name in known}
        return run_pipeline(peer, prompt=wanted.prompt, **given)


def run_pipeline(peer: Any, **options: Any) -> list[NDArray[np.int16]]:
    """Pixels of every image that a pipeline generates, ``(h, w, 3)``.

    The latents of one that `_FORGETS_SHIFT` are decoded as diffusers' other pipelines of its family do.
    """
    if type(peer).__name__ in _FORGETS_SHIFT:
        latents = peer(**options, output_type="latent").images
        with torch.no_grad():
            pixels = peer.vae.decode(_as_the_vae_takes(latents, peer.vae.config), return_dict=False)[0]
        images = peer.image_processor.postprocess(pixels)
    else:
        images = peer(**options).images
    return [np.asarray(image, dtype=np.int16) for image in images]


def _as_the_vae_takes(latents: Tensor, config: Any) -> Tensor:
    """As in `StableDiffusionXLPipeline` and `StableDiffusion3Pipeline`."""
    if config.latents_mean is None:
        return latents / config.scaling_factor + (config.shift_factor or 0)
    mean, std = (
        torch.tensor(config[name]).view(1, -1, 1, 1).to(latents.dtype)
        for name in ("latents_mean", "latents_std")
    )
    return latents * std / config.scaling_factor + mean


def make_scheduler(spec: JobSpec, config: Any) -> Any:
    """The scheduler of a job as users make it of the model's; shifts have two names."""
    kind = SCHEDULERS[spec.scheduler]
    shift = {} if spec.shift is None else {str(kind.shift_option): spec.shift}
    if kind.shift_option == "flow_shift":
        shift = {"flow_shift": config.get("flow_shift", config.get("shift", 1.0)), **shift}
    return getattr(diffusers, kind.name).from_config(config, **kind.options, **shift)


def source_image(size: tuple[int, int] | None = None) -> Image.Image:
    """The input image; pipelines that take no size are given it in theirs."""
    image = Image.open(SOURCE).convert("RGB")
    return image.resize(size, Image.Resampling.LANCZOS) if size else image


def mask_image() -> Image.Image:
    """White where it is repainted."""
    width, height = source_image().size
    sides = (width, height, width, height)
    left, top, right, bottom = (int(share * side) for share, side in zip(MASKED, sides, strict=True))
    mask = Image.new("RGB", (width, height))
    mask.paste((255, 255, 255), (left, top, right, bottom))
    return mask


def _assemble(pipe: Any, controlnets: Sequence[Any], wanted: JobSpec) -> Any:
    """The pipeline of this request, of the parts of ``pipe``."""
    scheduler = make_scheduler(wanted, pipe.scheduler.config)
    parts = dict(pipe.components)
    if pipe.vae.dtype != pipe.unet.dtype:  # a worker keeps it upcast; diffusers casts it for each image
        parts["vae"] = copy.deepcopy(pipe.vae).to(pipe.unet.dtype)
    is_union = _is_union(wanted)
    if controlnets:
        parts["controlnet"] = controlnets[0] if is_union else list(controlnets)
    is_sdxl = isinstance(pipe, StableDiffusionXLPipeline)
    if is_sdxl:
        parts |= {
            "add_watermarker": False,
            "force_zeros_for_empty_prompt": pipe.config.force_zeros_for_empty_prompt,
        }
    else:
        parts["requires_safety_checker"] = False
    union = "Union" if is_union else ""
    controlnets_too = f"ControlNet{union}" if controlnets else ""
    name = "StableDiffusion" + ("XL" if is_sdxl else "") + controlnets_too + _mode(wanted)
    peer = getattr(diffusers, f"{name}Pipeline")(**parts)
    peer.scheduler = scheduler  # as users swap it: the constructor would mend an old config
    peer.set_progress_bar_config(disable=True)
    return peer


def _is_union(wanted: JobSpec) -> bool:
    return any(controlnet.control_mode is not None for controlnet in wanted.controlnets)


def _mode(wanted: JobSpec) -> str:
    if wanted.image is None:
        return ""
    return "Img2Img" if wanted.mask_image is None else "Inpaint"


def _options(wanted: JobSpec) -> dict[str, Any]:
    """Every option of any pipeline; each takes those that it knows."""
    generators = [torch.Generator().manual_seed(seed) for seed in wanted.image_seeds]
    return {
        "negative_prompt": wanted.negative_prompt,
        "num_inference_steps": wanted.num_inference_steps,
        "guidance_scale": wanted.guidance_scale,
        "num_images_per_prompt": wanted.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "width": wanted.width,
        "height": wanted.height,
        "strength": wanted.strength,
        "clip_skip": wanted.clip_skip,
        "guidance_rescale": wanted.guidance_rescale,
        "eta": wanted.eta,
        "timesteps": wanted.timesteps,
        "sigmas": wanted.sigmas,
    }


def _image_options(wanted: JobSpec) -> dict[str, Any]:
    """The input is the image; if there is none, the control images are."""
    options: dict[str, Any] = {}
    if wanted.controlnets:
        options = {
            "image" if wanted.image is None and not _is_union(wanted) else "control_image": [
                Image.open(CONTROL).convert("RGB")
            ]
            * len(wanted.controlnets),
            "guess_mode": wanted.guess_mode,
            "controlnet_conditioning_scale": [
                controlnet.conditioning_scale for controlnet in wanted.controlnets
            ],
            "control_guidance_start": [controlnet.guidance_start for controlnet in wanted.controlnets],
            "control_guidance_end": [controlnet.guidance_end for controlnet in wanted.controlnets],
        }
    if _is_union(wanted):
        options["control_mode"] = [controlnet.control_mode for controlnet in wanted.controlnets]
    if wanted.image is not None:
        assert wanted.width is not None
        assert wanted.height is not None
        takes_size = bool(wanted.controlnets or wanted.mask_image)
        options["image"] = source_image(None if takes_size else (wanted.width, wanted.height))
    if wanted.mask_image is not None:
        options["mask_image"] = mask_image()
    return options


def fuse(pipe: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Load LoRAs, files and scales, and fuse them into the weights of ``pipe``."""
    names = [f"adapter{i}" for i in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        pipe.load_lora_weights(str(path.parent.resolve()), weight_name=path.name, adapter_name=name)
    pipe.set_adapters(names, [scale for _, scale in loras])
    parts = [
        part for part in pipe._lora_loadable_modules if hasattr(getattr(pipe, part, None), "peft_config")
    ]
    pipe.fuse_lora(parts, adapter_names=names)  # by default, Flux' text encoders keep theirs apart
