"""Flux.1 at toy size: dev with guidance embedded, schnell without, and its kinds of ControlNet."""

from typing import Any, Literal

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxPipeline,
    FluxTransformer2DModel,
)

from infra.tiny_models.text_encoders import clip_text_encoder, t5_encoder
from infra.tiny_models.tokenizers import clip_tokenizer, t5_tokenizer
from infra.tiny_models.vaes import CHANNELS, flux_vae
from infra.tiny_models.weights import randomize, without_progress_bar

CLIP_WIDTH, T5_WIDTH = 16, 24
_SIZE: dict[str, Any] = {
    "in_channels": 4 * CHANNELS,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": T5_WIDTH,
    "pooled_projection_dim": CLIP_WIDTH,
    "axes_dims_rope": (4, 6, 6),
}

#: "5/10": residuals for double and single blocks; "6/0": for double blocks, and beside four of them the last
#: residual is never read; "union": has modes; "xlabs": convolutions in place of the VAE, residuals repeat.
FluxControlNetKind = Literal["5/10", "6/0", "union", "xlabs"]
_KINDS: dict[str, dict[str, Any]] = {
    "5/10": {"num_layers": 2, "num_single_layers": 3},
    "6/0": {"num_layers": 3, "num_single_layers": 0},
    "union": {"num_layers": 2, "num_single_layers": 3, "num_mode": 10},
    "xlabs": {
        "num_layers": 2,
        "num_single_layers": 0,
        "conditioning_embedding_channels": CHANNELS,
        "patch_size": 2,
        "guidance_embeds": False,
    },
}


def make_flux(
    *, guidance_embeds: bool = True, layers: tuple[int, int] = (4, 6), heads: int = 2, seed: int = 0
) -> Any:
    """A `FluxPipeline`; ``layers``: double and single blocks; Flux.1 has 19 and 38, with 24 wider heads."""
    double, single = layers
    size = {**_SIZE, "num_layers": double, "num_single_layers": single, "num_attention_heads": heads}
    transformer = FluxTransformer2DModel(guidance_embeds=guidance_embeds, **size)
    shift = {"shift": 3.0, "use_dynamic_shifting": True} if guidance_embeds else {"shift": 1.0}
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    return without_progress_bar(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(**shift),
            vae=flux_vae(seed),
            text_encoder=clip_text_encoder(tokenizer, CLIP_WIDTH, seed=seed),
            tokenizer=tokenizer,
            text_encoder_2=t5_encoder(tokenizer_2, T5_WIDTH, seed),
            tokenizer_2=tokenizer_2,
            transformer=randomize(transformer, seed),
        )
    )


def make_flux_controlnet(kind: FluxControlNetKind = "5/10", *, seed: int = 1, **options: Any) -> Any:
    """A `FluxControlNetModel` whose output layers are not zero; ``options`` override the kind's config."""
    config = {**_SIZE, "guidance_embeds": True, **_KINDS[kind], **options}
    return randomize(FluxControlNetModel(**config), seed)
