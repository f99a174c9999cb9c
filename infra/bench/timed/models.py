"""The models of the timed workload: as small as their architecture allows, for devices that sleep."""

import json
from collections.abc import Sequence
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
from safetensors.torch import save
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from infra.bench.timed.times import LORA_LOAD_S, Times, write_times
from infra.emoji_files import EMOJI

NAME, CONTROLNETS = "timed", ("timed-controlnet1", "timed-controlnet2", "timed-controlnet3")
SIDE_PX, WIDTH, TOKENS = 16, 8, 77
_CATALOG = """default_model = "{name}"

[models.emoji-sd]
source = "{emoji}/model"

[controlnets.edge]
source = "{emoji}/controlnets/edge"
model = "emoji-sd"
"""


def make_timed(
    folder: Path,
    models: Sequence[str] = (NAME,),
    controlnets: Sequence[str] = CONTROLNETS,
    stretch: float = 1.0,
    step_stretch: float = 1.0,
    lora_load_s: float = LORA_LOAD_S,
) -> Path:
    """Write base models, ControlNets that fit all of them, and a catalog that also names the embedded model.

    Returns the catalog. For the factors and ``lora_load_s`` see `Times`.
    """
    pipe = _make_pipeline()
    text = _CATALOG.format(name=models[0], emoji=EMOJI.resolve())
    for model in models:
        pipe.save_pretrained(folder / model)
        text += f'\n[models.{model}]\nsource = "{model}"\n'
    for controlnet in controlnets:
        weights = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(WIDTH, WIDTH))
        weights.save_pretrained(folder / controlnet)
        text += f'\n[controlnets.{controlnet}]\nsource = "{controlnet}"\nmodel = {json.dumps(list(models))}\n'
    write_times(folder, Times(stretch, step_stretch, lora_load_s))
    catalog = folder / "catalog.toml"
    catalog.write_text(text)
    return catalog


def make_lora(seed: int) -> bytes:
    """A LoRA for it, as a safetensors file."""
    generator = torch.Generator().manual_seed(seed)
    place = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    return save(
        {
            f"{place}.lora_A.weight": torch.randn(1, WIDTH, generator=generator),
            f"{place}.lora_B.weight": torch.randn(WIDTH, 1, generator=generator),
        }
    )


def _make_pipeline() -> Any:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIDE_PX // 2,
        block_out_channels=(WIDTH,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=WIDTH,
        norm_num_groups=WIDTH // 2,
    )
    vae = AutoencoderKL(
        block_out_channels=(WIDTH, WIDTH),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=WIDTH // 2,
        sample_size=SIDE_PX,
    )
    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer", model_max_length=TOKENS)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=WIDTH,
        num_attention_heads=1,
        num_hidden_layers=1,
        max_position_embeddings=TOKENS,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
