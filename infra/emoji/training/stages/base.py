"""Trains the base model: the UNet and the text encoder together, from scratch."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from infra.emoji.training.data.captions import TOKENS, Captions
from infra.emoji.training.data.emoji_sets import NOTO, sprites
from infra.emoji.training.data.examples import LATENT_SIDE, Examples
from infra.emoji.training.models.diffusion import ddim, noised, spread_timesteps
from infra.emoji.training.models.folder import MODEL, load_vae, rounded
from infra.emoji.training.stages import tokenizer as vocabulary
from infra.emoji.training.stages.loop import Group, Plan, minimise

PLAN = Plan(steps=5000, batch=32, learning_rate=1.1e-3, warmup_steps=120, hold=0.2, average=0.995)
#: Guidance needs a model that also knows images without a caption (Ho & Salimans 2022).
CAPTION_DROP = 0.1
#: Leans a little to high noise, where subject and background are decided.
TIMESTEP_POWER = 0.75
TEXT_WIDTH = 128


def train(out: Path, data: Path, scale: float) -> None:
    """Train on the VAE in ``out`` and write the whole pipeline there."""
    torch.manual_seed(1)
    plan = PLAN.scaled(scale)
    tokenizer = vocabulary.train(out, data)
    vae = load_vae(out)
    examples = Examples(vae, Captions(tokenizer), sprites(NOTO, data))
    text_encoder, unet = _new_text_encoder(tokenizer), _new_unet()

    def loss() -> Tensor:
        latents, ids = examples.sample(plan.batch, drop=CAPTION_DROP)
        timesteps = spread_timesteps(plan.batch, power=TIMESTEP_POWER)
        x, v = noised(latents, timesteps)
        text = text_encoder(ids)[0]  # (b, 32, 128)
        return F.mse_loss(unet(x, timesteps, text, return_dict=False)[0], v)

    parameters = [*unet.parameters(), *text_encoder.parameters()]
    minimise(loss, [Group(parameters)], plan, title="base")
    pipeline = StableDiffusionPipeline(
        vae=rounded(vae),
        text_encoder=rounded(text_encoder),
        tokenizer=tokenizer,
        unet=rounded(unet),
        scheduler=ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out / MODEL)


def _new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=TEXT_WIDTH,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _new_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 64, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    return unet.to(memory_format=torch.channels_last)
