"""Tiny models with random weights from a fixed seed: every architectural switch, no training."""

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
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

EMOJI = Path("infra/emoji")

#: Layouts of real families at toy size: SD 1.x has a last block without attention and two layers a
#: block; the other switches come from SD 2.x (heads per block, linear projection) and odd relatives.
LAYOUTS: dict[str, dict[str, Any]] = {
    "sd1": {
        "block_out_channels": (32, 64),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 8,
    },
    "sd2": {
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
    },
    "centred": {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
        "center_input_sample": True,
    },
}


def make_unet(layout: str = "sd1") -> Any:
    """A UNet of about 1 M parameters."""
    torch.manual_seed(0)
    options = {"cross_attention_dim": 128, "norm_num_groups": 16, "sample_size": 16}
    return UNet2DConditionModel(**options, **LAYOUTS[layout]).eval().requires_grad_(False)


def make_net(unet: Any, seed: int = 1) -> Any:
    """A ControlNet of the UNet whose zero convolutions are not zero."""
    torch.manual_seed(seed)
    options = {"conditioning_embedding_out_channels": (8, 16, 16)}
    net = ControlNetModel.from_unet(unet, **options).eval().requires_grad_(False)
    for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        block.weight.normal_(std=0.05)
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=0.05)
    return net


def make_pipeline(layout: str = "sd1") -> Any:
    """A whole Stable Diffusion pipeline around a random UNet; latents are a quarter of the picture."""
    unet = make_unet(layout)
    text = CLIPTextConfig(
        hidden_size=128,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=32,
        vocab_size=2000,
        projection_dim=128,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=64,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    pipe = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(EMOJI / "emoji-sd" / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
