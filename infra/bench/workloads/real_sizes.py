"""Whole pipelines in the real architectures of SD 1.5 and SDXL, and a part of Flux.1, with random weights."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from infra.bench.workloads.architectures import UNETS, VAE
from infra.bench.workloads.flux import FluxRecipe, make_flux_pipeline, make_flux_transformer
from infra.emoji_files import EMOJI

#: CLIP ViT-L/14 and OpenCLIP ViT-bigG/14: width, feed-forward width, heads, layers.
_TEXT = {"large": (768, 3072, 12, 12), "big": (1280, 5120, 20, 32)}
#: Flux.1-dev's blocks at their own width, fewer of them; the width of texts is a toy's.
FLUX = FluxRecipe(layers=(3, 6), text_width=256)  # 1,921 M parameters
Module = TypeVar("Module", bound=nn.Module)


def make_pipeline(name: str, dtype: str) -> Any:
    """The pipeline ``sd15`` or ``sdxl``, whose tokenizer is the embedded model's, or ``flux``."""
    if name == "flux":
        return make_flux_pipeline(FLUX, _filled(lambda: make_flux_transformer(FLUX), dtype)).to(
            getattr(torch, dtype)
        )
    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer")
    parts = {
        "unet": _filled(lambda: UNet2DConditionModel(**UNETS[name]), dtype),
        "vae": _filled(_vae, dtype),
        "text_encoder": _filled(lambda: CLIPTextModel(text_config("large", tokenizer)), dtype),
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
    }
    if name == "sdxl":
        second = _filled(lambda: CLIPTextModelWithProjection(text_config("big", tokenizer)), dtype)
        return StableDiffusionXLPipeline(
            **parts, text_encoder_2=second, tokenizer_2=tokenizer, add_watermarker=False
        )
    return StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def _filled(make: Callable[[], Module], dtype: str) -> Module:
    """A module whose weights are made once, in its dtype: initialising them in float32 takes minutes."""
    with torch.device("meta"):
        module = make()
    module = module.to(getattr(torch, dtype)).to_empty(device="cpu")
    for weight in module.parameters():
        weight.data.uniform_(-0.03, 0.03)
    return module


def _vae() -> Any:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, **VAE
    )


def text_config(size: str, tokenizer: Any) -> Any:
    """The config of a text encoder; its vocabulary is the tokenizer's, smaller than the real one."""
    width, inner, heads, layers = _TEXT[size]
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        projection_dim=width,
        hidden_act="gelu" if size == "big" else "quick_gelu",
    )
