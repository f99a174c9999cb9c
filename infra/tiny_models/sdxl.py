"""SDXL at toy size, and its ControlNet."""

from typing import Any

from diffusers import (
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from infra.tiny_models.text_encoders import clip_text_encoder
from infra.tiny_models.tokenizers import clip_tokenizer
from infra.tiny_models.vaes import CHANNELS, image_vae
from infra.tiny_models.weights import randomize, without_progress_bar

CLIP_WIDTH = 32


def make_sdxl(*, seed: int = 0) -> Any:
    """A `StableDiffusionXLPipeline`; its first block has no attention."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4, 4),
        norm_num_groups=8,
        use_linear_projection=True,
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=2 * CLIP_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + CLIP_WIDTH,
    )
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer()
    return without_progress_bar(
        StableDiffusionXLPipeline(
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
            ),
            vae=image_vae(0.13025, None, seed),
            text_encoder=clip_text_encoder(tokenizer, CLIP_WIDTH, seed=seed),
            tokenizer=tokenizer,
            text_encoder_2=clip_text_encoder(tokenizer_2, CLIP_WIDTH, projected=True, seed=seed + 1),
            tokenizer_2=tokenizer_2,
            unet=randomize(unet, seed),
            add_watermarker=False,
        )
    )


def make_sdxl_controlnet(unet: Any, *, seed: int = 1) -> Any:
    """A `ControlNetModel` of the UNet whose zero convolutions are not zero."""
    controlnet = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(8, 16, 16, 16), load_weights_from_unet=False
    )
    return randomize(controlnet, seed)
