"""The models of a size, made on the device from fixed seeds: nothing is downloaded."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from infra.bench.parts.gpu.sizes import Size
from infra.emoji_files import EMOJI

#: Rows of a guided step: both CFG branches.
GUIDED_ROWS = 2
TOKENS = 77
CONTROLNETS = ("edge", "colour")


@dataclass(frozen=True)
class Models:
    """A pipeline on the device, and its ControlNets."""

    size: Size
    device: torch.device
    pipe: Any
    controlnets: dict[str, Any]

    @property
    def dtype(self) -> torch.dtype:
        """Of all weights."""
        return _dtype(self.size)

    def unet_inputs(self, rows: int) -> dict[str, Any]:
        """Arguments of one call of the UNet or of a ControlNet; numbers from a fixed seed."""
        generator = torch.Generator(self.device).manual_seed(rows)
        config, side = self.pipe.unet.config, self.size.side_px // 8

        def randn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=self.device, dtype=self.dtype)

        pooled = self.size.models.text_widths[1]
        return {
            "sample": randn(rows, 4, side, side),
            "timestep": torch.tensor(500, device=self.device),
            "encoder_hidden_states": randn(rows, TOKENS, config.cross_attention_dim),
            "added_cond_kwargs": {"text_embeds": randn(rows, pooled), "time_ids": randn(rows, 6)},
            "return_dict": False,
        }

    def control(self, rows: int) -> Tensor:
        """A control image, ``(rows, 3, h, w)``."""
        generator = torch.Generator(self.device).manual_seed(3)
        side = self.size.side_px
        shape = (rows, 3, side, side)
        return torch.rand(*shape, generator=generator, device=self.device, dtype=self.dtype)


def make_models(size: Size, device: torch.device) -> Models:
    """Make all weights on the device, in their dtype: a copy of SDXL takes seconds."""
    before, dtype = torch.get_default_dtype(), _dtype(size)
    torch.set_default_dtype(dtype)
    try:
        # Whoever measures first may be in inference mode, whose tensors work in no other.
        with torch.inference_mode(False), torch.device(device):
            unet, vae = make_unet(size), _make_vae(size)
            controlnets = {name: _make_controlnet(unet, i) for i, name in enumerate(CONTROLNETS, 1)}
    finally:
        torch.set_default_dtype(before)
    with torch.inference_mode(False):
        texts = {name: encoder.to(device, dtype) for name, encoder in _make_text_encoders(size).items()}
    tokenizer = _tokenizer()
    pipe = StableDiffusionXLPipeline(
        unet=unet,
        vae=vae,
        **texts,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=_make_scheduler(),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return Models(size, device, pipe, controlnets)


def make_unet(size: Size) -> Any:
    """The UNet on the default device, in the default dtype. Weights are torch's initial ones, with which
    predictions stay finite, and so do images."""
    torch.manual_seed(0)
    return UNet2DConditionModel(**size.models.unet).eval().requires_grad_(False)


def make_lora(unet: nn.Module, rank: int, seed: int) -> dict[str, Tensor]:
    """Both factors of every linear layer of attention and feed-forward, in float16 and under PEFT's names."""
    device = next(unet.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    tensors = {}
    for name, module in unet.named_modules():
        if name.endswith(LORA_TARGETS) and isinstance(module, nn.Linear):
            out, wide = module.weight.shape
            a = torch.randn(rank, wide, generator=generator, device=device) / wide**0.5
            b = torch.randn(out, rank, generator=generator, device=device) * 0.02
            tensors[f"unet.{name}.lora_A.weight"] = a.half().cpu()
            tensors[f"unet.{name}.lora_B.weight"] = b.half().cpu()
    return tensors


LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")


def _make_vae(size: Size) -> Any:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **size.models.vae,
    )
    return _quiet(vae)


def _make_text_encoders(size: Size) -> dict[str, Any]:
    torch.manual_seed(0)
    first, second = (_text_config(width, size, _tokenizer()) for width in size.models.text_widths)
    return {
        "text_encoder": _quiet(CLIPTextModel(first)),
        "text_encoder_2": _quiet(CLIPTextModelWithProjection(second)),
    }


def _tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer", model_max_length=TOKENS)


def _make_scheduler() -> Any:
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )


@torch.no_grad()
def _make_controlnet(unet: Any, seed: int) -> Any:
    """A ControlNet as after training: the UNet's encoder, a little changed, and no convolution of zeros."""
    torch.manual_seed(seed)
    controlnet = ControlNetModel.from_unet(unet).to(unet.device, unet.dtype)
    for parameter in controlnet.parameters():
        parameter.mul_(1 + 0.01 * seed)
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        block.weight.normal_(std=0.02)
    controlnet.controlnet_cond_embedding.conv_out.weight.normal_(std=0.02)
    return _quiet(controlnet)


def _text_config(width: int, size: Size, tokenizer: Any) -> Any:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        projection_dim=width,
        intermediate_size=4 * width,
        num_attention_heads=max(1, width // 64),
        num_hidden_layers=size.models.text_layers,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _quiet(module: Any) -> Any:
    return module.eval().requires_grad_(False)


def _dtype(size: Size) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, size.dtype)
    return dtype
