"""``python -m infra.chaos.diffusers_images FILE FOLDER``: the recipes' images by diffusers' own pipelines.

A process of its own, with one thread as a worker has. The file is written by `generate_with_diffusers`.
"""

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.chaos.recipes.embedded import SOURCE, TASKS, Recipe, mask_image
from infra.chaos.recipes.modes import MIXED_MODE, RECIPES
from infra.emoji_files import EMOJI
from infra.local.environment import inherit
from shared.catalog.schedulers import SCHEDULERS
from shared.settings import ROOT

TIMEOUT_S = 600.0
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def generate_with_diffusers(
    mode: str, requests: Mapping[int, Mapping[str, Any]], folder: Path
) -> dict[tuple[int, int], NDArray[np.int16]]:
    """Pixels, ``(h, w, 3)``, by recipe and image; ``requests`` are as the API returns them, with sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "requests.json"
    file.write_text(json.dumps({"mode": mode, "requests": requests}))
    command = [sys.executable, "-m", "infra.chaos.diffusers_images", str(file), str(folder)]
    subprocess.run(command, cwd=ROOT, env=inherit(THREADS), check=True, timeout=TIMEOUT_S)
    found = {}
    for recipe in requests:
        for path in folder.glob(f"{recipe}-*.png"):
            n = int(path.stem.partition("-")[2])
            found[recipe, n] = np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)
    return found


def _main() -> None:
    file, folder = map(Path, sys.argv[1:])
    given = json.loads(file.read_text())
    if given["mode"] == MIXED_MODE:
        from infra.chaos.mixed_images import MixedImages  # torch, which no process of a fleet shares

        diffusers_images: DiffusersImages | MixedImages = MixedImages(folder / "models")
    else:
        diffusers_images = DiffusersImages()
    for recipe, request in given["requests"].items():
        images = diffusers_images.generate(RECIPES[given["mode"]][int(recipe)], request)
        for n, image in enumerate(images):
            image.save(folder / f"{recipe}-{n}.png")


class DiffusersImages:
    """The embedded model and its ControlNets in this process."""

    def __init__(self) -> None:
        import diffusers
        import torch
        import transformers

        torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
            library.utils.logging.set_verbosity_error()
        options: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
        self._diffusers, self._torch = diffusers, torch
        self._pipe = diffusers.StableDiffusionPipeline.from_pretrained(
            EMOJI / "model", dtype=torch.float32, **options
        )
        self._controlnets = {
            name: diffusers.ControlNetModel.from_pretrained(EMOJI / "controlnets" / name, dtype=torch.float32)
            for name in ("edge", "colour")
        }

    def generate(self, recipe: Recipe, request: Mapping[str, Any]) -> list[Image.Image]:
        """The images of a recipe; ``request`` has every default filled in."""
        pipe = self._pipeline(recipe, request["scheduler"])
        seeds = [request["seed"] + n for n in range(request["num_images"])]
        generators = [self._torch.Generator().manual_seed(seed) for seed in seeds]
        images: list[Image.Image] = pipe(
            request["prompt"],
            negative_prompt=request["negative_prompt"],
            num_inference_steps=request["num_inference_steps"],
            guidance_scale=request["guidance_scale"],
            num_images_per_prompt=len(seeds),
            generator=generators if len(seeds) > 1 else generators[0],
            **_files(recipe, request),
        ).images
        return images

    def _pipeline(self, recipe: Recipe, scheduler: str) -> Any:
        kind = SCHEDULERS[scheduler]
        parts = dict(self._pipe.components)
        if recipe.controlnets:
            parts["controlnet"] = [self._controlnets[name] for name, _, _ in recipe.controlnets]
        task = f"{'ControlNet' if recipe.controlnets else ''}{TASKS[recipe.source]}"
        name = f"StableDiffusion{task}Pipeline"
        pipe = getattr(self._diffusers, name)(**parts, requires_safety_checker=False)
        pipe.scheduler = getattr(self._diffusers, kind.name).from_config(
            self._pipe.scheduler.config, **kind.options
        )
        pipe.set_progress_bar_config(disable=True)
        if recipe.loras:
            pipe = copy.deepcopy(pipe)  # fused weights are its own
            for name, _ in recipe.loras:
                weights = {"weight_name": f"{name}.safetensors", "adapter_name": name}
                pipe.load_lora_weights(str((EMOJI / "loras").resolve()), **weights)
            names = [name for name, _ in recipe.loras]
            pipe.set_adapters(names, [scale for _, scale in recipe.loras])
            pipe.fuse_lora(adapter_names=names)
        return pipe


def _files(recipe: Recipe, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes, and options that are made of files."""
    options: dict[str, Any] = {}
    size = (request["width"], request["height"])
    if recipe.controlnets:
        images = [Image.open(file).convert("RGB") for _, file, _ in recipe.controlnets]
        options["image" if recipe.source == "none" else "control_image"] = images
        options["controlnet_conditioning_scale"] = [scale for _, _, scale in recipe.controlnets]
    takes_size = bool(recipe.controlnets) or recipe.source != "image"
    if recipe.source != "none":
        source = Image.open(SOURCE).convert("RGB")
        options["image"] = source if takes_size else source.resize(size, Image.Resampling.LANCZOS)
        options["strength"] = request["strength"]
    if recipe.source == "mask":
        options["mask_image"] = mask_image()
    if takes_size:
        options |= {"width": size[0], "height": size[1]}
    return options


if __name__ == "__main__":
    _main()
