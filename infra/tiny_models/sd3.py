"""Stable Diffusion 3 and 3.5 at toy size, and their kinds of ControlNet."""

from typing import Any, Literal

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from infra.tiny_models.text_encoders import clip_text_encoder, t5_encoder
from infra.tiny_models.tokenizers import clip_tokenizer, t5_tokenizer
from infra.tiny_models.vaes import image_vae
from infra.tiny_models.weights import randomize, without_progress_bar

CLIP_WIDTH, T5_WIDTH = 16, 40
#: diffusers' pipeline for masks takes no other number.
CHANNELS = 16
_SIZE: dict[str, Any] = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": T5_WIDTH,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 2 * CLIP_WIDTH,
    "pos_embed_max_size": 24,
}

#: "medium": blocks like the base's, with text; "large": SD3.5 large's own kind, without text, and with the
#: base's position embedding; "inpaint": as "medium", and takes a mask.
SD3ControlNetKind = Literal["medium", "large", "inpaint"]
_KINDS: dict[str, dict[str, Any]] = {
    "medium": {},
    "inpaint": {"extra_conditioning_channels": 1},
    "large": {
        "joint_attention_dim": None,
        "pos_embed_type": None,
        "use_pos_embed": False,
        "force_zeros_for_pooled_projection": False,
    },
}


def make_sd3(
    *,
    dual_attention: bool = False,
    with_t5: bool = True,
    qk_norm: bool = True,
    layers: int = 6,
    seed: int = 0,
) -> Any:
    """A `StableDiffusion3Pipeline` as 3.5 large; ``dual_attention``: 3.5 medium; no ``qk_norm``: 3 medium."""
    transformer = SD3Transformer2DModel(
        num_layers=layers,
        qk_norm="rms_norm" if qk_norm else None,
        dual_attention_layers=tuple(range(layers // 2)) if dual_attention else (),
        **_SIZE,
    )
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer()
    tokenizer_3 = t5_tokenizer() if with_t5 else None
    return without_progress_bar(
        StableDiffusion3Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=image_vae(1.5305, 0.0609, seed, channels=CHANNELS),
            text_encoder=clip_text_encoder(tokenizer, CLIP_WIDTH, projected=True, seed=seed),
            tokenizer=tokenizer,
            text_encoder_2=clip_text_encoder(tokenizer_2, CLIP_WIDTH, projected=True, seed=seed + 1),
            tokenizer_2=tokenizer_2,
            text_encoder_3=t5_encoder(tokenizer_3, T5_WIDTH, seed) if with_t5 else None,
            tokenizer_3=tokenizer_3,
            transformer=randomize(transformer, seed),
        )
    )


def make_sd3_controlnet(
    kind: SD3ControlNetKind = "medium", *, layers: int = 3, seed: int = 1, **options: Any
) -> Any:
    """An `SD3ControlNetModel` whose output layers are not zero; ``options`` override the kind's config."""
    return randomize(SD3ControlNetModel(**{**_SIZE, "num_layers": layers, **_KINDS[kind], **options}), seed)
