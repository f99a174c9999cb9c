"""A Flux and its ControlNet with random weights, made on the device, and the catalog of both.

FLUX.1-dev at its full width with half of its blocks, 10 of 19 double and 19 of 38 single ones, and a
ControlNet of 3 and 5 blocks, as many to a block of the base model as one of 5 and 10 has: this process and
the fleet hold all of it, which is too much of the whole for most cards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxControlNetModel

from infra.bench.workloads.flux import FluxRecipe, make_flux_pipeline, make_flux_transformer

MODEL, CONTROLNET = "flux", "flux-edge"
#: As of FLUX.1-dev.
GUIDANCE = 3.5


@dataclass(frozen=True, kw_only=True)
class FluxSize:
    """One size of the models, and of their jobs."""

    recipe: FluxRecipe
    dtype: torch.dtype
    steps: int
    text_tokens: int


HALF = FluxSize(
    recipe=FluxRecipe(layers=(10, 19), controlnet_layers=(3, 5)),
    dtype=torch.bfloat16,
    steps=12,
    text_tokens=512,
)
TOY_FLUX = FluxSize(
    recipe=FluxRecipe(
        heads=2,
        head_dim=16,
        rope_axes=(4, 6, 6),
        layers=(4, 6),
        controlnet_layers=(1, 2),
        text_width=24,
        pooled_width=16,
        vae_channels=8,
        side_px=64,
    ),
    dtype=torch.bfloat16,
    steps=3,
    text_tokens=64,
)


@dataclass(frozen=True)
class FluxModels:
    """A pipeline on the device, and its ControlNet."""

    size: FluxSize
    pipe: Any
    controlnet: Any

    @property
    def parameters(self) -> int:
        """Of the transformer."""
        return sum(parameter.numel() for parameter in self.pipe.transformer.parameters())

    def write(self, folder: Path) -> Path:
        """Save both; returns their catalog's path."""
        self.pipe.save_pretrained(folder / MODEL)
        self.controlnet.save_pretrained(folder / CONTROLNET)
        side_px, dtype = self.size.recipe.side_px, str(self.size.dtype).removeprefix("torch.")
        catalog = folder / "catalog.toml"
        catalog.write_text(
            f'default_model = "{MODEL}"\n\n[models.{MODEL}]\nsource = "{MODEL}"\ndtype = "{dtype}"\n'
            f"num_inference_steps = {self.size.steps}\nguidance_scale = {GUIDANCE}\n"
            f"width = {side_px}\nheight = {side_px}\n"
            f'\n[controlnets.{CONTROLNET}]\nsource = "{CONTROLNET}"\nmodel = "{MODEL}"\ndtype = "{dtype}"\n'
        )
        return catalog


def make_flux_models(size: FluxSize, device: torch.device) -> FluxModels:
    """Make all weights on the device, in their dtype. They are torch's initial ones, but for those of the
    ControlNet's outputs, which begin as zeros."""
    recipe = size.recipe
    double, single = recipe.controlnet_layers
    transformer = _made(size, device, lambda: make_flux_transformer(recipe), seed=0)
    controlnet = _made(
        size,
        device,
        lambda: FluxControlNetModel(num_layers=double, num_single_layers=single, **recipe.options),
        seed=1,
    )
    with torch.no_grad():
        outputs = (*controlnet.controlnet_blocks, *controlnet.controlnet_single_blocks)
        for layer in (*outputs, controlnet.controlnet_x_embedder):
            layer.weight.normal_(std=0.02)
    with torch.inference_mode(False):
        pipe = make_flux_pipeline(recipe, transformer).to(device, size.dtype)
    pipe.set_progress_bar_config(disable=True)
    return FluxModels(size, pipe, controlnet)


def _made(size: FluxSize, device: torch.device, make: Callable[[], Any], seed: int) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(size.dtype)
    try:
        # Whoever measures first may be in inference mode, whose tensors work in no other.
        with torch.inference_mode(False), torch.device(device):
            torch.manual_seed(seed)
            return make().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
