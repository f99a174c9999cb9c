"""A request to a transformer as a user of diffusers writes it: what `exact` images are compared with."""

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.catalog.schedulers import SCHEDULERS
from shared.jobs.options import FamilyOptions
from shared.jobs.spec import JobSpec
from tests.diffusers_peer import CONTROL, fuse, mask_image, run_pipeline, source_image

#: What diffusers adds to a pipeline's name for a task, unless one has a name of its own.
_TASKS = {"text": "", "image": "Img2Img", "mask": "Inpaint"}
_NAMES = {"StableDiffusion3ControlNetInpaintPipeline": "StableDiffusion3ControlNetInpaintingPipeline"}
#: A pipeline calls it after each step with itself, the step, its timestep and tensors; it returns new ones.
OnStepEnd = Callable[[Any, int, Any, dict[str, Tensor]], dict[str, Tensor]]


def generate_with_transformer(
    pipe: Any,
    controlnets: Sequence[Any],
    wanted: JobSpec,
    loras: Sequence[tuple[Path, float]] = (),
    on_step_end: OnStepEnd | None = None,
) -> list[NDArray[np.int16]]:
    """Pixels of every image, ``(h, w, 3)``; ``loras`` are files and scales, loaded and fused."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    peer = _assemble(pipe, controlnets, wanted)
    if loras:
        peer = copy.deepcopy(peer)  # fused weights are its own
        fuse(peer, loras)
    options = _options(wanted) | {"callback_on_step_end": on_step_end}
    if (
        "LCM" in SCHEDULERS[wanted.scheduler].name
    ):  # pipelines would sample its noise from the global generator
        peer.scheduler.step = partial(peer.scheduler.step, generator=options["generator"])
    known = inspect.signature(peer.__call__).parameters
    if "control_mask" in known:  # of ControlNets that inpaint: there is no other image
        options |= {"control_image": source_image(), "control_mask": mask_image()}
    # From the global generator SD3 samples the latents of control images, and others those of masked images.
    torch.manual_seed(wanted.image_seeds[0])
    given = {name: options[name] for name in options if name in known}
    return run_pipeline(peer, prompt=wanted.prompt, **given)


def generate_with_late_loras(
    pipe: Any,
    controlnets: Sequence[Any],
    wanted: JobSpec,
    loras: Sequence[tuple[Path, float]],
    first_steps: Sequence[int],
) -> list[list[NDArray[np.int16]]]:
    """For each of ``first_steps`` the images whose steps before it, at least one, are computed without LoRAs.

    From that step on they are of a pipeline with the LoRAs fused, which also encodes the texts with them, and
    is given the latents of one without them.
    """
    without: dict[int, Tensor] = {}

    def keep(_pipe: Any, step: int, _t: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        without[step + 1] = tensors["latents"]
        return {}

    generate_with_transformer(pipe, controlnets, wanted, on_step_end=keep)
    fused = copy.deepcopy(pipe)
    fuse(fused, loras)

    def generate_from(first_step: int) -> list[NDArray[np.int16]]:
        def replace(_pipe: Any, step: int, _t: Any, _tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"latents": without[first_step]} if step + 1 == first_step else {}

        return generate_with_transformer(fused, controlnets, wanted, on_step_end=replace)

    return [generate_from(step) for step in first_steps]


def pipeline_class(base: str, task: str, *, has_controlnets: bool) -> Any:
    """The pipeline for a task, "text", "image" or "mask", of a model whose own is named ``base``; or None."""
    name = f"{base}{'ControlNet' if has_controlnets else ''}{_TASKS[task]}Pipeline"
    return getattr(diffusers, _NAMES.get(name, name), None)


def _assemble(pipe: Any, controlnets: Sequence[Any], wanted: JobSpec) -> Any:
    """The pipeline of this request, of the parts of ``pipe``."""
    task = "text" if wanted.image is None else "image" if wanted.mask_image is None else "mask"
    base = type(pipe).__name__.removesuffix("Pipeline")
    kind = pipeline_class(base, task, has_controlnets=bool(controlnets))
    parts = {
        name: part for name, part in pipe.components.items() if name in inspect.signature(kind).parameters
    }
    if controlnets:
        control_nets = [_with_parts_of_its_own(control_net) for control_net in controlnets]
        parts["controlnet"] = control_nets[0] if len(control_nets) == 1 else control_nets
    peer = kind(**parts)
    scheduler = SCHEDULERS[wanted.scheduler]
    options = dict(scheduler.options)
    if scheduler.shift_option is not None:
        options[scheduler.shift_option] = wanted.shift or pipe.scheduler.config.get("shift", 1.0)
    peer.scheduler = getattr(diffusers, scheduler.name).from_config(pipe.scheduler.config, **options)
    peer.set_progress_bar_config(disable=True)
    return peer


def _with_parts_of_its_own(controlnet: Any) -> Any:
    """The same weights as another module: pipelines give some ControlNets layers of the base model."""
    clone = copy.copy(controlnet)
    clone.__dict__ |= {name: dict(clone.__dict__[name]) for name in ("_modules", "_parameters", "_buffers")}
    return clone


def _options(wanted: JobSpec) -> dict[str, Any]:
    """Every option of any pipeline; each takes those that it knows."""
    generators = [torch.Generator().manual_seed(seed) for seed in wanted.image_seeds]
    options: dict[str, Any] = {
        "negative_prompt": wanted.negative_prompt,
        "num_inference_steps": wanted.num_inference_steps,
        "guidance_scale": wanted.guidance_scale,
        "num_images_per_prompt": wanted.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "width": wanted.width,
        "height": wanted.height,
        "sigmas": wanted.sigmas,
        "clip_skip": wanted.clip_skip,
        **wanted.model_dump(include=set(FamilyOptions.model_fields), exclude_none=True),
    }
    if wanted.image is not None:
        options |= {"image": source_image(), "strength": wanted.strength}
    if wanted.mask_image is not None:
        options["mask_image"] = mask_image()
    return options | _control_options(wanted)


def _control_options(wanted: JobSpec) -> dict[str, Any]:
    if not wanted.controlnets:
        return {}
    each = {
        "control_image": [Image.open(CONTROL).convert("RGB")] * len(wanted.controlnets),
        "control_mode": [control_net.control_mode for control_net in wanted.controlnets],
        "controlnet_conditioning_scale": [
            control_net.conditioning_scale for control_net in wanted.controlnets
        ],
        "control_guidance_start": [control_net.guidance_start for control_net in wanted.controlnets],
        "control_guidance_end": [control_net.guidance_end for control_net in wanted.controlnets],
    }
    return {name: values[0] for name, values in each.items()} if len(wanted.controlnets) == 1 else each
