"""The workload ``flux_mid``: Flux.1's depth at an eighth of its width, with a ControlNet of 5/10 blocks.

As many blocks and residuals as the real ones have, so that a step has the structure of a real one: 57 blocks,
of which every fourth needs a new residual. What is not measured is small: the text encoders and the VAE.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxPipeline,
    FluxTransformer2DModel,
)

from infra.bench.workloads.workload import MODELS, Workload, catalog_text, made_once
from infra.tiny_models.text_encoders import clip_text_encoder, t5_encoder
from infra.tiny_models.tokenizers import clip_tokenizer, t5_tokenizer
from infra.tiny_models.weights import randomize

NAME = "flux_mid"
#: Raise it when anything below changes what is made: what an older recipe made is no longer used.
VERSION = 1
#: Of T5, which the blocks compute beside 256 tokens of the image: as 512 beside the 4096 of 1024 x 1024.
TEXT_TOKENS = 32
LATENT_CHANNELS = 16


@dataclass(frozen=True)
class FluxRecipe:
    """Sizes of a Flux transformer and its ControlNet; the defaults are those of the real ones."""

    heads: int = 24
    head_dim: int = 128
    rope_axes: tuple[int, int, int] = (16, 56, 56)
    layers: tuple[int, int] = (19, 38)  # double and single blocks
    controlnet_layers: tuple[int, int] = (5, 10)
    text_width: int = 4096
    pooled_width: int = 768
    vae_channels: int = 32
    side_px: int = 1024

    @property
    def options(self) -> dict[str, Any]:
        """Options of `FluxTransformer2DModel` and `FluxControlNetModel`, but for the number of blocks."""
        return {
            "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim,
            "axes_dims_rope": self.rope_axes,
            "in_channels": 4 * LATENT_CHANNELS,  # of 2 x 2 latents
            "joint_attention_dim": self.text_width,
            "pooled_projection_dim": self.pooled_width,
            "guidance_embeds": True,
        }


#: 186 M parameters; the ControlNet's 52 M.
MID = FluxRecipe(heads=3, text_width=256, pooled_width=256, side_px=256)


def open_flux(name: str = NAME, recipe: FluxRecipe = MID, root: Path = MODELS) -> Workload:
    """The workload; made first if it is not there."""
    # No config of Flux says how large its images are.
    fields = {"max_sequence_length": TEXT_TOKENS, "width": recipe.side_px, "height": recipe.side_px}
    workload = Workload(name, root / f"{name}-{VERSION}", (f"{name}-controlnet",), recipe.side_px, fields)
    return made_once(workload, lambda folder: _make(workload, recipe, folder))


def _make(workload: Workload, recipe: FluxRecipe, folder: Path) -> None:
    transformer = randomize(make_flux_transformer(recipe), 0)
    make_flux_pipeline(recipe, transformer).save_pretrained(folder / workload.name)
    double, single = recipe.controlnet_layers
    controlnet = FluxControlNetModel(num_layers=double, num_single_layers=single, **recipe.options)
    randomize(controlnet, 1).save_pretrained(folder / workload.controlnets[0])
    (folder / "catalog.toml").write_text(catalog_text(workload.name, workload.controlnets))


def make_flux_transformer(recipe: FluxRecipe) -> Any:
    """The transformer alone, with torch's initial weights."""
    double, single = recipe.layers
    return FluxTransformer2DModel(num_layers=double, num_single_layers=single, **recipe.options)


def make_flux_pipeline(recipe: FluxRecipe, transformer: Any) -> Any:
    """A pipeline of Flux.1-dev's kind around a transformer."""
    c = recipe.vae_channels
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(c, c, 2 * c, 2 * c),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=min(c, 32),
        latent_channels=LATENT_CHANNELS,
        sample_size=recipe.side_px,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=clip_text_encoder(clip, recipe.pooled_width),
        tokenizer=clip,
        text_encoder_2=t5_encoder(t5, recipe.text_width),
        tokenizer_2=t5,
        transformer=transformer,
    )
