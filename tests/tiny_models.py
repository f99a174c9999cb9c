"""Tiny models with random weights from a fixed seed: every architectural switch, no training."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

EMOJI = Path("infra/emoji")

_SD1: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 8,
}
_SDXL: dict[str, Any] = {
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 4),
    "use_linear_projection": True,
    "transformer_layers_per_block": (1, 1, 2),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 64,
}
#: UNets of real families at toy size. SD 1.x has a last block without attention and two layers a block;
#: SD 2.x heads per block, linear projections and a text encoder of another width; SDXL's first block has
#: no attention, and what is added to its time embedding; two have guidance distilled in; two see
#: a mask and a masked image beside the latents; one is odd.
LAYOUTS: dict[str, dict[str, Any]] = {
    "sd1": _SD1,
    "sd2": {
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
        "cross_attention_dim": 96,
    },
    "sdxl": _SDXL,
    "lcm": {**_SD1, "time_cond_proj_dim": 32},
    "sdxl-lcm": {**_SDXL, "time_cond_proj_dim": 32},
    "sd1-inpaint": {**_SD1, "in_channels": 9},
    "sdxl-inpaint": {**_SDXL, "in_channels": 9},
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
    options = {"cross_attention_dim": 128, "norm_num_groups": 16, "sample_size": 16, **LAYOUTS[layout]}
    return UNet2DConditionModel(**options).eval().requires_grad_(False)


def make_controlnet(unet: Any, seed: int = 1, **options: Any) -> Any:
    """A ControlNet of the UNet whose zero convolutions are not zero."""
    torch.manual_seed(seed)
    if unet.config.in_channels > unet.config.out_channels:  # ControlNets see no mask
        unet = UNet2DConditionModel.from_config(unet.config, in_channels=unet.config.out_channels)
    controlnet = ControlNetModel.from_unet(
        unet,
        conditioning_embedding_out_channels=(8, 16, 16),
        load_weights_from_unet=unet.config.time_cond_proj_dim
        is None,  # ControlNets have no guidance distilled in
    )
    controlnet.register_to_config(**options)
    return _awoken(controlnet)


def _awoken(controlnet: Any) -> Any:
    """The ControlNet with zero convolutions that are not zero."""
    controlnet.eval().requires_grad_(False)
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        block.weight.normal_(std=0.05)
    torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.05)
    return controlnet


def make_union(unet: Any, seed: int = 1) -> Any:
    """A ControlNet-Union of an SDXL UNet, for three kinds of control image."""
    torch.manual_seed(seed)
    shared = {name: unet.config[name] for name in (*_SDXL, "cross_attention_dim", "norm_num_groups")}
    del shared["up_block_types"]
    controlnet = ControlNetUnionModel(
        **shared,
        conditioning_embedding_out_channels=(8, 16, 16),
        num_control_type=3,
        num_trans_channel=32,
        num_proj_channel=32,
        num_trans_head=4,
    )
    torch.nn.init.normal_(controlnet.spatial_ch_projs.weight, std=0.05)
    return _awoken(controlnet)


def make_pipeline(layout: str = "sd1", **scheduling: Any) -> Any:
    """A whole pipeline around a random UNet; latents are a quarter of the image.

    ``scheduling`` is what its scheduler's config says beyond the usual.
    """
    unet = make_unet(layout)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, **scheduling
    )
    scheduler.register_to_config(skip_prk_steps=True)  # as all of Stable Diffusion's say, for PNDM
    parts = {"unet": unet, "vae": _make_vae(layout), "scheduler": scheduler}
    if unet.config.addition_embed_type == "text_time":
        pipe = StableDiffusionXLPipeline(
            text_encoder=_make_text_encoder(64),
            tokenizer=_read_tokenizer(),
            text_encoder_2=_make_text_encoder(64, projected=True),
            tokenizer_2=_read_tokenizer(pad_token="!"),
            add_watermarker=False,
            **parts,
        )
    else:
        options = {"pad_token": "!"} if layout == "sd2" else {}
        pipe = StableDiffusionPipeline(
            text_encoder=_make_text_encoder(unet.config.cross_attention_dim),
            tokenizer=_read_tokenizer(**options),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **parts,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_lora(pipe: Any, path: Path, seed: int = 0) -> None:
    """Write a LoRA with these `lora_tensors`."""
    save_file(lora_tensors(pipe, seed), path)


def lora_tensors(pipe: Any, seed: int = 0) -> dict[str, Tensor]:
    """A LoRA of rank 4 on some attention layers of the UNet and of the first text encoder, in PEFT's form."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for part, model in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder)):
        for name, module in model.named_modules():
            if name.endswith(("to_q", "to_out.0", "v_proj")):
                rows, columns = module.weight.shape
                key = f"{part}.{name}"
                tensors[f"{key}.lora_A.weight"] = torch.randn(4, columns, generator=generator) * 0.1
                tensors[f"{key}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.1
    return tensors


def _make_text_encoder(width: int, *, projected: bool = False) -> Any:
    tokenizer = _read_tokenizer()
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=3,
        max_position_embeddings=32,
        vocab_size=len(tokenizer),
        projection_dim=64,
        hidden_act="gelu" if projected or width == 96 else "quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return kind(config).eval().requires_grad_(False)


def _read_tokenizer(**options: str) -> Any:
    return CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer", **options)


def _make_vae(layout: str) -> Any:
    options = (
        {
            "latents_mean": (0.1, -0.2, 0.05, 0.0),
            "latents_std": (1.1, 0.9, 1.3, 1.0),
            "scaling_factor": 0.13025,
        }
        if layout.startswith("sdxl")
        else {}
    )
    return (
        AutoencoderKL(
            block_out_channels=(16, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            norm_num_groups=8,
            latent_channels=4,
            sample_size=64,
            **options,
        )
        .eval()
        .requires_grad_(False)
    )
