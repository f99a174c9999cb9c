"""Z-Image's LoRA files: its first release has query, key and value as one.

No form trains the refiners, which are the ControlNets', too: a worker that holds only one of both cannot
patch them.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.original_names import z_image_names
from tests.parity.lora_forms.arithmetic import added_to_originals, original_shapes, product_of
from tests.parity.lora_forms.form import LoraForm
from tests.parity.lora_forms.peft_form import PEFT
from tests.workers.lora.pipelines import down_up, factors, kohya, linears, peft


def _without_refiners(form: LoraForm, pipe: Any) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in form.tensors(pipe).items() if "refiner" not in key}


def _layers(pipe: Any) -> dict[str, tuple[int, int]]:
    shapes = linears(pipe.transformer, "attention", "feed_forward")
    return {name: shape for name, shape in shapes.items() if name.startswith("layers.")}


def _originals(pipe: Any) -> dict[str, tuple[int, int]]:
    shapes = original_shapes(pipe.transformer, z_image_names, "attention", "feed_forward")
    return {name: shape for name, shape in shapes.items() if name.startswith("layers.")}


def _fused_attention(pipe: Any) -> dict[str, tuple[int, int]]:
    return {name: shape for name, shape in _originals(pipe).items() if "attention" in name}


def _anime_z(pipe: Any) -> dict[str, Tensor]:
    """With dots in the names of factors and of query, key and value, which are there as one, too."""
    ends = ".lora.down.weight", ".lora.up.weight"
    prefix = "diffusion_model."
    split = factors({prefix + name: shape for name, shape in _layers(pipe).items()}, *ends)
    repeated = factors({prefix + name: shape for name, shape in _fused_attention(pipe).items()}, *ends)
    return {re.sub(r"\.to_([qkv])\.", r".to.\1.", key): tensor for key, tensor in split.items()} | repeated


def _lokr(pipe: Any) -> dict[str, Tensor]:
    """Kronecker products, the second factor in two, as ai-toolkit trains them."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (rows, columns) in _layers(pipe).items():
        stem = f"diffusion_model.{name}"
        tensors[f"{stem}.lokr_w1"] = torch.randn(2, 2, generator=generator) * 0.4
        tensors[f"{stem}.lokr_w2_a"] = torch.randn(rows // 2, 4, generator=generator) * 0.2
        tensors[f"{stem}.lokr_w2_b"] = torch.randn(4, columns // 2, generator=generator) * 0.2
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    return tensors


def _first_release(pipe: Any) -> dict[str, Tensor]:
    return peft(_originals(pipe), "diffusion_model.", alpha=".alpha")


def _added(pipe: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    products = {name: product_of(tensors, f"diffusion_model.{name}") for name in _originals(pipe)}
    added = added_to_originals(pipe.transformer, z_image_names, products)
    return {f"transformer.{name}": change for name, change in added.items()}


FORMS: dict[str, LoraForm] = {
    **{name: LoraForm(partial(_without_refiners, form)) for name, form in PEFT.items()},
    "kohya": LoraForm(lambda pipe: kohya(_layers(pipe), "lora_unet_")),
    "kohya-fused": LoraForm(lambda pipe: kohya(_fused_attention(pipe), "lora_unet_")),
    "ai-toolkit": LoraForm(lambda pipe: peft(_layers(pipe), "diffusion_model.")),
    "comfyui": LoraForm(lambda pipe: down_up(_layers(pipe), "diffusion_model.", alpha=".alpha")),
    "anime-z": LoraForm(_anime_z),
    "lokr": LoraForm(_lokr),
    # with lora_A diffusers does not load it
    "first-release": LoraForm(_first_release, _added),
}
