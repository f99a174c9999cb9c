"""What is measured: SDXL as it is, and a toy of the same architecture for tests on a CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.bench.workloads.architectures import UNETS, VAE

#: One step's residuals for a batch of two, in the order in which they leave: mid block, then deepest first.
Shapes = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Options of the models. Text encoders have SDXL's widths and few layers, and the tokenizer is the
    embedded model's: neither is part of a step."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_widths: tuple[int, int]
    text_layers: int
    dtype: Literal["float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of models, whose weights are random, and of their jobs."""

    name: str
    models: Architecture
    side_px: int
    steps: int
    lora_rank: int
    residual_shapes: Shapes
    copied_mb: tuple[int, ...]

    @property
    def dtype(self) -> Literal["float16", "float32"]:
        """Of all weights and of the latents."""
        return self.models.dtype


def _deepest_first(*groups: tuple[int, int, int]) -> Shapes:
    return tuple((2, channels, side, side) for count, channels, side in groups for _ in range(count))


#: Its own VAE overflows in float16, so that diffusers decodes in float32 unless it is told otherwise.
SDXL = Size(
    name="sdxl",
    models=Architecture(
        unet=UNETS["sdxl"],
        vae={**VAE, "scaling_factor": 0.13025, "force_upcast": True, "sample_size": 1024},
        text_widths=(768, 1280),
        text_layers=2,
        dtype="float16",
    ),
    side_px=1024,
    steps=50,
    lora_rank=64,
    residual_shapes=_deepest_first((3, 1280, 32), (1, 640, 32), (2, 640, 64), (1, 320, 64), (3, 320, 128)),
    copied_mb=(5, 21, 107),
)
TOY = Size(
    name="toy",
    models=Architecture(
        unet={
            **UNETS["sdxl"],
            "block_out_channels": (32, 64, 64),
            "attention_head_dim": (2, 4, 4),
            "cross_attention_dim": 64,
            "transformer_layers_per_block": (1, 1, 2),
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
            "sample_size": 8,
        },
        vae={
            **VAE,
            "block_out_channels": (32, 32, 32, 32),
            "layers_per_block": 1,
            "scaling_factor": 0.13025,
            "force_upcast": True,
            "sample_size": 64,
        },
        text_widths=(32, 32),
        text_layers=2,
        dtype="float32",
    ),
    side_px=64,
    steps=4,
    lora_rank=4,
    residual_shapes=_deepest_first((3, 64, 2), (1, 64, 2), (2, 64, 4), (1, 32, 4), (3, 32, 8)),
    copied_mb=(1,),
)
