"""LoRA files of random matrices, in PEFT's form with diffusers' names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

#: Of each attention module and feed-forward of a transformer, and of CLIP.
TRAINED = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_mlp",
    "ff.net.0.proj",
    "img_mlp.net.2",
    "feed_forward.w1",
)
TRAINED_OF_CLIP = ("q_proj", "k_proj", "v_proj", "out_proj")


def make_lora(pipe: Any, path: Path, **options: Any) -> None:
    """Write a LoRA with these `lora_tensors`."""
    save_file(lora_tensors(pipe, **options), path)


def lora_tensors(
    pipe: Any,
    *,
    parts: Sequence[str] = ("transformer",),
    rank: int = 4,
    scale: float = 0.15,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A LoRA of some layers of ``parts``, which are names of the pipeline's components."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for part in parts:
        trained = TRAINED_OF_CLIP if part.startswith("text_encoder") else TRAINED
        for name, module in getattr(pipe, part).named_modules():
            if name.endswith(trained):
                rows, columns = module.weight.shape
                stem = f"{part}.{name}"
                tensors[f"{stem}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) * scale
                tensors[f"{stem}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * scale
    return tensors
