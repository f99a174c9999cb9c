"""The models of the larger workloads: random weights from fixed seeds, made on first use, then kept.

Each is a folder of its own: a diffusers model, its ControlNets, two LoRAs, and a catalog that names them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from infra.bench.workloads.workload import LORA_RANK, LORAS, MODELS, Workload, catalog_text, made_once
from infra.emoji_files import EMOJI

#: Raise it when anything below changes what is made: what an older recipe made is no longer used.
VERSION = 2
#: SD 1.x's: what its text encoder pads prompts to.
TOKENS = 77
#: LoRAs train attention with its projections, feed-forward layers and the convolutions of residual blocks.
TRAINED = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out"),
    *("ff.net.0.proj", "ff.net.2", "conv1", "conv2"),
)


@dataclass(frozen=True)
class Recipe:
    """What distinguishes one workload's models; everything else is SD 1.5's architecture."""

    channels: tuple[int, ...]
    cross_attention_dim: int
    side_px: int
    controlnets: tuple[str, ...]
    vae_channels: int = 32  # the UNet is what is measured: text encoder and VAE may be small
    text_layers: int = 2


RECIPES = {
    # 110.8 M parameters
    "mid": Recipe((128, 256, 448, 448), 256, 256, ("mid-controlnet1", "mid-controlnet2", "mid-controlnet3")),
    # 859.5 M parameters: SD 1.5's own UNet
    "sd15": Recipe((320, 640, 1280, 1280), 768, 128, ("sd15-controlnet",)),
}


def open_workload(name: str, recipe: Recipe | None = None, root: Path = MODELS) -> Workload:
    """The workload ``name``; made first if it is not there, which takes a minute at full size."""
    made = recipe or RECIPES[name]
    workload = Workload(name, root / f"{name}-{VERSION}", made.controlnets, made.side_px)
    return made_once(workload, lambda folder: _make(name, made, folder))


def _make(name: str, recipe: Recipe, folder: Path) -> None:
    pipe = _make_pipeline(recipe)
    pipe.save_pretrained(folder / name)
    for seed, controlnet in enumerate(recipe.controlnets, 1):
        _make_controlnet(pipe.unet, seed).save_pretrained(folder / controlnet)
    for seed, lora in enumerate(LORAS, 1):
        save_file(_make_lora(pipe.unet, seed), folder / f"{name}-lora-{lora}.safetensors")
    (folder / "catalog.toml").write_text(catalog_text(name, recipe.controlnets))


def _make_pipeline(recipe: Recipe) -> Any:
    """Weights are torch's initial ones: predictions stay finite, and so do images."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=recipe.side_px // 8,
        block_out_channels=recipe.channels,
        cross_attention_dim=recipe.cross_attention_dim,
        attention_head_dim=8,
    )
    c = recipe.vae_channels
    vae = AutoencoderKL(
        block_out_channels=(c, c, 2 * c, 2 * c),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=min(c, 32),
        sample_size=recipe.side_px,
    )
    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer", model_max_length=TOKENS)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.cross_attention_dim,
        projection_dim=recipe.cross_attention_dim,
        intermediate_size=4 * recipe.cross_attention_dim,
        num_attention_heads=recipe.cross_attention_dim // 64,
        num_hidden_layers=recipe.text_layers,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def _make_controlnet(unet: Any, seed: int) -> Any:
    """A ControlNet as after training: the UNet's encoder, a little changed, and no convolution of zeros."""
    torch.manual_seed(seed)
    controlnet = ControlNetModel.from_unet(unet)
    for parameter in controlnet.parameters():
        parameter.mul_(1 + 0.01 * seed)
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        block.weight.normal_(std=0.02)
    controlnet.controlnet_cond_embedding.conv_out.weight.normal_(std=0.02)
    return controlnet


def _make_lora(unet: nn.Module, seed: int) -> dict[str, Tensor]:
    """Both factors of every trained module, under PEFT's names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in _trained(unet):
        wide, kernel = weight.shape[1], weight.shape[2:]
        a = torch.randn(LORA_RANK, wide, *kernel, generator=generator) / weight[0].numel() ** 0.5
        b = torch.randn(weight.shape[0], LORA_RANK, *(1 for _ in kernel), generator=generator) * 0.02
        tensors[f"unet.{name}.lora_A.weight"] = a.half()
        tensors[f"unet.{name}.lora_B.weight"] = b.half()
    return tensors


def _trained(unet: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module in unet.named_modules():
        if name.endswith(TRAINED) and isinstance(module, nn.Linear | nn.Conv2d):
            yield name, module.weight
