"""The output folder of a training run: laid out like the one that ships, so that either can be measured.

``model/`` (a diffusers pipeline), ``controlnets/edge/``, ``controlnets/colour/``, ``loras/``, ``control/``
(example control images), ``images/`` and ``metrics.json``. Weights are stored as float16; each
stage goes on from the rounded weights, as a server will.
"""

from copy import deepcopy
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, ModelMixin, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedModel

MODEL = "model"


class Base:
    """The finished base model, frozen, in float32."""

    def __init__(self, out: Path) -> None:
        folder = out / MODEL
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(
            folder / "text_encoder", dtype=torch.float32
        ).requires_grad_(False)
        self.vae = load_vae(out)
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32).requires_grad_(
            False
        )
        self.unet.to(memory_format=torch.channels_last)


def load_vae(out: Path) -> AutoencoderKL:
    """The trained VAE, frozen, in float32."""
    vae = AutoencoderKL.from_pretrained(out / MODEL / "vae", dtype=torch.float32)
    vae.requires_grad_(False).to(memory_format=torch.channels_last)
    return vae


def load_controlnet(folder: Path) -> ControlNetModel:
    """A trained ControlNet in float32."""
    controlnet = ControlNetModel.from_pretrained(folder, dtype=torch.float32)
    controlnet.requires_grad_(False).to(memory_format=torch.channels_last)
    return controlnet


def save(model: ModelMixin | PreTrainedModel, folder: Path) -> None:
    """Write a float16 copy of ``model``."""
    rounded(deepcopy(model)).save_pretrained(folder)


def rounded(model: ModelMixin | PreTrainedModel) -> ModelMixin | PreTrainedModel:
    """``model`` itself in float16, in the memory order that safetensors can write."""
    return model.half().to(memory_format=torch.contiguous_format)
