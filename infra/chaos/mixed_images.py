"""Images of the mixed catalog's recipes by diffusers' own pipelines."""

import copy
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from infra.chaos.recipes.embedded import SOURCE, TASKS, Recipe, mask_image
from infra.tiny_models.mixed_catalog import MixedCatalog, write_mixed_catalog
from shared.catalog.schedulers import SCHEDULERS

#: Arguments of some pipelines that requests have under the same name.
_TAKEN = ("guidance_scale", "negative_prompt", "num_inference_steps", "true_cfg_scale")


class MixedImages:
    """Models as they lie in a folder: made again, which gives the same weights."""

    def __init__(self, folder: Path) -> None:
        self._catalog: MixedCatalog = write_mixed_catalog(folder)

    def generate(self, recipe: Recipe, request: Mapping[str, Any]) -> list[Image.Image]:
        """The images of a recipe of one image; ``request`` has every default filled in."""
        pipe = self._pipeline(recipe, request)
        torch.manual_seed(
            request["seed"]
        )  # SD3 samples the latents of control images from the global generator
        options: dict[str, Any] = {
            **{name: request[name] for name in _TAKEN if request.get(name) is not None},
            "width": request["width"],
            "height": request["height"],
            "generator": torch.Generator().manual_seed(request["seed"]),
        }
        known = inspect.signature(pipe.__call__).parameters
        if recipe.source != "none":
            options |= {"image": Image.open(SOURCE).convert("RGB"), "strength": request["strength"]}
        if recipe.source == "mask":
            options["mask_image"] = mask_image()
        if recipe.controlnets:
            [(_, file, scale)] = recipe.controlnets
            image = "control_image" if "control_image" in known else "image"
            options |= {image: Image.open(file).convert("RGB"), "controlnet_conditioning_scale": scale}
        given = {name: value for name, value in options.items() if name in known}
        images: list[Image.Image] = pipe(request["prompt"], **given).images
        return images

    def _pipeline(self, recipe: Recipe, request: Mapping[str, Any]) -> Any:
        model = request["model"]
        base = diffusers.DiffusionPipeline.from_pretrained(self._catalog.models[model], dtype=torch.float32)
        parts = dict(base.components)
        task = f"{'ControlNet' if recipe.controlnets else ''}{TASKS[recipe.source]}"
        name = f"{type(base).__name__.removesuffix('Pipeline')}{task}Pipeline"
        if recipe.controlnets:
            folder = self._catalog.controlnets[model]
            kind = json.loads((folder / "config.json").read_text())["_class_name"]
            parts["controlnet"] = getattr(diffusers, kind).from_pretrained(folder, dtype=torch.float32)
        pipeline = getattr(diffusers, name)
        known = inspect.signature(pipeline).parameters
        switches = {"requires_safety_checker": False, "add_watermarker": False}
        parts |= {name: value for name, value in switches.items() if name in known}
        pipe = pipeline(**{name: part for name, part in parts.items() if name in known})
        scheduler = SCHEDULERS[request["scheduler"]]
        pipe.scheduler = getattr(diffusers, scheduler.name).from_config(
            base.scheduler.config, **scheduler.options
        )
        pipe.set_progress_bar_config(disable=True)
        if recipe.loras:
            pipe = copy.deepcopy(pipe)  # fused weights are its own
            [(_, scale)] = recipe.loras
            file = self._catalog.loras[model]
            pipe.load_lora_weights(str(file.parent.resolve()), weight_name=file.name, adapter_name="lora")
            pipe.set_adapters(["lora"], [scale])
            pipe.fuse_lora(adapter_names=["lora"])
        return pipe
