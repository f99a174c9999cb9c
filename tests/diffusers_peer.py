"""The same request as a user of diffusers writes it: what `exact` pictures are held against."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from PIL import Image

from shared.schedulers import SCHEDULERS
from shared.specs import JobSpec
from tests.tiny_models import EMOJI

#: The control image of every request here.
CONTROL = EMOJI / "control" / "2_penguin.png"


def draw_with_diffusers(
    pipe: Any,
    nets: Sequence[Any],
    wanted: JobSpec,
    loras: Sequence[tuple[Path, float]] | None = None,
) -> list[NDArray[np.int16]]:
    """Pixels of every picture, ``(h, w, 3)``; ``loras`` are files and scales, loaded and fused."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    kind = SCHEDULERS[wanted.scheduler]
    scheduler = getattr(diffusers, kind.name).from_config(pipe.scheduler.config, **kind.options)
    generators = [torch.Generator().manual_seed(seed) for seed in wanted.picture_seeds]
    options: dict[str, Any] = {
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
    if wanted.guidance_rescale:  # the ControlNet pipelines have none
        options["guidance_rescale"] = wanted.guidance_rescale
    parts = {**pipe.components, "scheduler": scheduler}
    if nets:
        parts["controlnet"] = list(nets)
        options |= {
            "image": [Image.open(CONTROL).convert("RGB")] * len(nets),
            "controlnet_conditioning_scale": [net.conditioning_scale for net in wanted.controlnets],
            "control_guidance_start": [net.guidance_start for net in wanted.controlnets],
            "control_guidance_end": [net.guidance_end for net in wanted.controlnets],
        }
    kind_of_pipe = StableDiffusionControlNetPipeline if nets else type(pipe)
    peer = kind_of_pipe(**parts, requires_safety_checker=False)
    peer.set_progress_bar_config(disable=True)
    if loras:
        peer = copy.deepcopy(peer)  # fused weights are its own
        _fuse(peer, loras)
    images = peer(wanted.prompt, **options).images
    return [np.asarray(image, dtype=np.int16) for image in images]


def _fuse(pipe: Any, loras: Sequence[tuple[Path, float]]) -> None:
    names = [f"adapter{i}" for i in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        pipe.load_lora_weights(str(path.parent.resolve()), weight_name=path.name, adapter_name=name)
    pipe.set_adapters(names, [scale for _, scale in loras])
    pipe.fuse_lora(adapter_names=names)
