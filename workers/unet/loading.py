"""Loads a base model of the catalogue: its family is read from its own files."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

from shared.errors import ModelFailed
from workers.unet.models import BaseModel

#: Pipelines that people save models as, and the one that has their parts.
_KINDS = {
    "StableDiffusion": StableDiffusionPipeline,
    "StableDiffusionImg2Img": StableDiffusionPipeline,
    "StableDiffusionInpaint": StableDiffusionPipeline,
    "StableDiffusionControlNet": StableDiffusionPipeline,
    "LatentConsistencyModel": StableDiffusionPipeline,
    "StableDiffusionXL": StableDiffusionXLPipeline,
    "StableDiffusionXLInpaint": StableDiffusionXLPipeline,
    "StableDiffusionXLControlNet": StableDiffusionXLPipeline,
}


def load_model(name: str, source: str, dtype: str, device: str) -> BaseModel:
    """Load a model from a diffusers folder, a single file or a hub id; raises `ModelFailed`."""
    try:
        pipe = _load_pipeline(source, getattr(torch, dtype))
        _check(pipe)
        pipe.to(device)
    except (OSError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise ModelFailed(f"model {name!r} ({source}) cannot be loaded: {error}") from error
    except ModelFailed as error:
        raise ModelFailed(f"model {name!r} ({source}) {error}") from None
    if isinstance(pipe, StableDiffusionXLPipeline) and pipe.vae.config.force_upcast and dtype == "float16":
        pipe.vae.to(torch.float32)  # it overflows in float16; diffusers does this for each picture
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
        if part is not None:
            part.eval().requires_grad_(False)
    return BaseModel(name, pipe)


def _load_pipeline(source: str, dtype: torch.dtype) -> Any:
    if source.endswith(".safetensors"):
        return StableDiffusionPipeline.from_single_file(
            source, dtype=dtype, safety_checker=None, feature_extractor=None
        )
    if Path(source).is_dir() and not Path(source, "model_index.json").exists():
        raise ModelFailed("is no diffusers folder: it has no model_index.json")
    kind = str(DiffusionPipeline.load_config(source).get("_class_name")).removesuffix("Pipeline")
    if kind not in _KINDS:
        raise ModelFailed(f"is a {kind}: that family is not served")
    pipeline = _KINDS[kind]
    options: dict[str, Any] = (
        {"add_watermarker": False}
        if pipeline is StableDiffusionXLPipeline
        else {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    )
    return pipeline.from_pretrained(source, dtype=dtype, **options)


def _check(pipe: Any) -> None:
    """Refuse what has the parts of a family and works in another way."""
    unet = pipe.unet.config
    if pipe.text_encoder is None:
        raise ModelFailed("has one text encoder of SDXL's two: refiners are not served")
    known = {StableDiffusionPipeline: None, StableDiffusionXLPipeline: "text_time"}[type(pipe)]
    if unet.addition_embed_type != known or unet.class_embed_type or unet.encoder_hid_dim_type:
        raise ModelFailed("has a UNet that takes inputs its family does not have")
