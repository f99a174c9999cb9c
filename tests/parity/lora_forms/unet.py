"""LoRA files of UNets and their text encoders."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.lora_forms.arithmetic import product_of
from tests.parity.lora_forms.form import LoraForm, flat
from tests.parity.lora_forms.peft_form import clip
from tests.tiny_models import lora_tensors
from tests.workers.lora.pipelines import ALPHA, RANK, kohya

#: Ends of names of the UNet's modules.
_TRAINED = ("to_q", "to_k", "to_out.0", "ff.net.0.proj", "conv1")


def _trained(pipe: Any) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in pipe.unet.named_modules() if name.endswith(_TRAINED))


def _kohya(pipe: Any) -> dict[str, Tensor]:
    """With convolutions and every text encoder; SDXL's have numbers."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, module in _trained(pipe):
        rows, *columns = module.get_parameter("weight").shape
        stem, width = flat("lora_unet_", name), torch.Size(columns).numel()
        down = torch.randn(RANK, *columns, generator=generator) / width**0.5
        up = torch.randn(rows, RANK, *([1] * len(columns[1:])), generator=generator) * 0.2
        tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        tensors[f"{stem}.alpha"] = torch.tensor(ALPHA)
    if not hasattr(pipe, "text_encoder_2"):
        return tensors | kohya(clip(pipe.text_encoder), "lora_te_")
    texts = kohya(clip(pipe.text_encoder), "lora_te1_") | kohya(clip(pipe.text_encoder_2), "lora_te2_")
    return tensors | texts


def _loha(pipe: Any) -> dict[str, Tensor]:
    """LyCORIS' Hadamard products of attentions."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name in _attentions(pipe):
        stem = flat("lora_unet_", name)
        rows, columns = pipe.unet.get_submodule(name).weight.shape
        for i in (1, 2):
            tensors[f"{stem}.hada_w{i}_a"] = torch.randn(rows, RANK, generator=generator) * 0.3
            tensors[f"{stem}.hada_w{i}_b"] = torch.randn(RANK, columns, generator=generator) * 0.3
        tensors[f"{stem}.alpha"] = torch.tensor(ALPHA)
    return tensors


def _added(pipe: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"unet.{name}.weight": product_of(tensors, flat("lora_unet_", name)) for name in _attentions(pipe)
    }


def _attentions(pipe: Any) -> list[str]:
    return [name for name, _ in _trained(pipe) if ".attn" in name]


FORMS: dict[str, LoraForm] = {
    "a": LoraForm(lora_tensors),
    "b": LoraForm(partial(lora_tensors, seed=1)),
    "kohya": LoraForm(_kohya),
    "loha": LoraForm(_loha, _added),  # diffusers loads none
}
