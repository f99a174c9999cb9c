"""LoRA files of random matrices in the forms in which trainers of transformers save them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny_transformers import make_lora

RANK, ALPHA = 4, 3.0


def write_lora(form: str, pipe: Any, path: Path, seed: int) -> None:
    """Write a LoRA in a form; "text": PEFT's with a text encoder; any other name: PEFT's."""
    if form == "kohya" and type(pipe).__name__ == "FluxPipeline":
        save_file(_flux_of_kohya(pipe.transformer.config, seed), path)
        return
    make_lora(pipe, path, parts=["transformer", *(["text_encoder"] if form == "text" else [])], seed=seed)
    # Refiners are Z-Image's ControlNets' too: with those only a worker that holds both may patch them.
    save_file({name: tensor for name, tensor in load_file(path).items() if "refiner" not in name}, path)
    if form == "kohya":
        save_file(_kohya(load_file(path)), path)
    elif form == "comfyui":
        tensors = load_file(path).items()
        save_file({f"diffusion_model.{_within(name)}": tensor for name, tensor in tensors}, path)


def _kohya(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of modules have underscores, and each an alpha."""
    made = {}
    for name, tensor in tensors.items():
        stem, _, matrix = _within(name).removesuffix(".weight").rpartition(".")
        module = "lora_unet_" + stem.replace(".", "_")
        made[f"{module}.{'lora_down' if matrix == 'lora_A' else 'lora_up'}.weight"] = tensor
        made[f"{module}.alpha"] = torch.tensor(ALPHA)
    return made


def _within(name: str) -> str:
    return name.removeprefix("transformer.")


def _flux_of_kohya(config: Any, seed: int) -> dict[str, Tensor]:
    """The original model's modules: attention has one for query, key and value."""
    width = config.num_attention_heads * config.attention_head_dim
    double = {
        "img_attn_qkv": (width, 3 * width),
        "txt_attn_qkv": (width, 3 * width),
        "img_attn_proj": (width, width),
        "img_mlp_0": (width, 4 * width),
        "img_mod_lin": (width, 6 * width),
    }
    single = {"linear2": (5 * width, width)}  # diffusers converts linear1 of Flux's own width alone
    sizes = {
        **{
            f"double_blocks_{i}_{name}": size
            for i in range(config.num_layers)
            for name, size in double.items()
        },
        **{
            f"single_blocks_{i}_{name}": size
            for i in range(config.num_single_layers)
            for name, size in single.items()
        },
    }
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, (columns, rows) in sizes.items():
        made[f"lora_unet_{name}.lora_down.weight"] = torch.randn(RANK, columns, generator=generator) * 0.15
        made[f"lora_unet_{name}.lora_up.weight"] = torch.randn(rows, RANK, generator=generator) * 0.15
        made[f"lora_unet_{name}.alpha"] = torch.tensor(ALPHA)
    return made
