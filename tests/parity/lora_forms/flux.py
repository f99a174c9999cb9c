"""Flux's LoRA files: its authors have query, key and value as one, in single blocks the MLP's input, too."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.original_names import flux_names
from tests.parity.lora_forms.arithmetic import added_to_originals, original_shapes, product_of
from tests.parity.lora_forms.form import LoraForm, flat
from tests.parity.lora_forms.peft_form import PEFT, clip, lora_tensors
from tests.workers.lora.pipelines import down_up, factors, kohya, linears, peft

#: Of its authors' names those that diffusers converts for a Flux of any width and then loads: the width of a
#: single block's fused input it takes for given.
_ANY_WIDTH = ("double_blocks", "linear2")
_ALL_BLOCKS = ("double_blocks", "single_blocks", "final_layer")


def _originals(pipe: Any, *words: str) -> dict[str, tuple[int, int]]:
    return original_shapes(pipe.transformer, flux_names, *words)


def _kohya(pipe: Any) -> dict[str, Tensor]:
    return kohya(_originals(pipe, *_ANY_WIDTH), "lora_unet_") | kohya(clip(pipe.text_encoder), "lora_te1_")


def _comfyui(pipe: Any) -> dict[str, Tensor]:
    text = down_up(clip(pipe.text_encoder), "text_encoders.clip_l.transformer.", alpha=".alpha")
    return down_up(_originals(pipe, *_ANY_WIDTH), "diffusion_model.", alpha=".alpha") | text


def _onetrainer(pipe: Any) -> dict[str, Tensor]:
    layers = linears(pipe.transformer, "attn.to", "attn.add")
    return kohya(layers, "lora_transformer_") | kohya(clip(pipe.text_encoder), "lora_te1_")


def _xlabs(pipe: Any) -> dict[str, Tensor]:
    width = pipe.transformer.inner_dim
    shapes = {}
    for i in range(len(pipe.transformer.transformer_blocks)):
        for stream in "12":  # image, text
            shapes[f"double_blocks.{i}.processor.qkv_lora{stream}"] = (3 * width, width)
            shapes[f"double_blocks.{i}.processor.proj_lora{stream}"] = (width, width)
    for i in range(len(pipe.transformer.single_transformer_blocks)):
        shapes[f"single_blocks.{i}.processor.qkv_lora"] = (3 * width, width)
        shapes[f"single_blocks.{i}.processor.proj_lora"] = (width, 5 * width)
    return factors(shapes, ".down.weight", ".up.weight")


def _bfl(pipe: Any) -> dict[str, Tensor]:
    return peft(_originals(pipe, *_ALL_BLOCKS), "")


def _lokr(pipe: Any) -> dict[str, Tensor]:
    """Kronecker products over fused layers."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (rows, columns) in _originals(pipe, "qkv", "linear1").items():
        stem = flat("lora_unet_", name)
        tensors[f"{stem}.lokr_w1"] = torch.randn(rows // 8, columns // 8, generator=generator) * 0.2
        tensors[f"{stem}.lokr_w2"] = torch.randn(8, 8, generator=generator) * 0.2
    return tensors


def _added(
    words: tuple[str, ...], stem: Callable[[str], str], pipe: Any, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Of the layers whose original names have one of ``words``; ``stem`` makes their keys of them."""
    products = {name: product_of(tensors, stem(name)) for name in _originals(pipe, *words)}
    added = added_to_originals(pipe.transformer, flux_names, products)
    return {f"transformer.{name}": change for name, change in added.items()}


def _t5(pipe: Any) -> dict[str, Tensor]:
    return kohya(_of_t5(pipe), "lora_te3_")


def _of_t5(pipe: Any) -> dict[str, tuple[int, int]]:
    return linears(pipe.text_encoder_2, "SelfAttention", "wi_0")


def _added_to_t5(pipe: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"text_encoder_2.{name}.weight": product_of(tensors, flat("lora_te3_", name)) for name in _of_t5(pipe)
    }


FORMS: dict[str, LoraForm] = {
    **PEFT,
    "text": LoraForm(partial(lora_tensors, parts=("transformer", "text_encoder"))),
    "kohya": LoraForm(_kohya),
    "comfyui": LoraForm(_comfyui),
    "onetrainer": LoraForm(_onetrainer),
    "xlabs": LoraForm(_xlabs),
    # diffusers loads nothing of these, the last one's text encoder neither
    "bfl": LoraForm(_bfl, partial(_added, _ALL_BLOCKS, str)),
    "lokr": LoraForm(_lokr, partial(_added, ("qkv", "linear1"), partial(flat, "lora_unet_"))),
    "t5": LoraForm(_t5, _added_to_t5),
}
