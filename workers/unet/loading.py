"""Loads a base model of the catalogue: its family is read from its own files."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

from shared.catalogue import SINGLE_FILE, LoadOptions, ModelEntry
from shared.errors import ModelFailed
from workers.projections import remember_projections
from workers.unet.models import BaseModel
from workers.weights import find_source

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
#: Parts and switches of each that no picture here needs.
_UNUSED: dict[Any, dict[str, Any]] = {
    StableDiffusionPipeline: {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    StableDiffusionXLPipeline: {"add_watermarker": False},
}


def load_entry(name: str, entry: ModelEntry, catalog: Path, device: str) -> BaseModel:
    """Load a model as the catalogue at ``catalog`` says; raises `ModelFailed`."""
    config = None if entry.config is None else find_source(catalog, entry.config)
    options = entry.model_copy(update={"config": config})
    return load_model(name, find_source(catalog, entry.source), entry.dtype, device, options)


@torch.inference_mode(False)
def load_model(
    name: str, source: str, dtype: str, device: str, options: LoadOptions | None = None
) -> BaseModel:
    """Load a model from a diffusers folder, a single file or a hub id; raises `ModelFailed`."""
    options = options or LoadOptions()
    try:
        pipe = _load_pipeline(source, getattr(torch, dtype), options)
        _check(pipe)
        pipe.to(device)
    except (OSError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        hint = (
            "; its catalogue key config may name a folder with its configs"
            if _asks_hub(source, options)
            else ""
        )
        raise ModelFailed(f"model {name!r} ({source}) cannot be loaded: {error}{hint}") from error
    except ModelFailed as error:
        raise ModelFailed(f"model {name!r} ({source}) {error}") from None
    if isinstance(pipe, StableDiffusionXLPipeline) and pipe.vae.config.force_upcast and dtype == "float16":
        pipe.vae.to(torch.float32)  # it overflows in float16; diffusers does this for each picture
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
        if part is not None:
            part.eval().requires_grad_(False)
    remember_projections(pipe.unet)
    _turn(pipe, options)
    return BaseModel(name, pipe, options.switches)


def _asks_hub(source: str, options: LoadOptions) -> bool:
    return source.endswith(SINGLE_FILE) and options.config is None


def _turn(pipe: Any, options: LoadOptions) -> None:
    if options.attention_slicing is not None:
        pipe.enable_attention_slicing(options.attention_slicing)
    if options.vae_slicing:
        pipe.vae.enable_slicing()
    if options.vae_tiling:
        pipe.vae.enable_tiling()


def _load_pipeline(source: str, dtype: torch.dtype, options: LoadOptions) -> Any:
    if source.endswith(SINGLE_FILE):
        kind = _read_kind(options.config) if options.config else _kind_of_file(source)
        own = {"config": options.config, "local_files_only": True} if options.config else {}
        return kind.from_single_file(source, dtype=dtype, **own, **_UNUSED[kind])
    kind = _read_kind(source)
    return kind.from_pretrained(source, dtype=dtype, variant=options.variant, **_UNUSED[kind])


def _read_kind(source: str) -> Any:
    """The pipeline of a folder or hub id."""
    if Path(source).is_dir() and not Path(source, "model_index.json").exists():
        raise ModelFailed("is no diffusers folder: it has no model_index.json")
    kind = str(DiffusionPipeline.load_config(source).get("_class_name")).removesuffix("Pipeline")
    if kind not in _KINDS:
        raise ModelFailed(f"is a {kind}: that family is not served")
    return _KINDS[kind]


def _kind_of_file(source: str) -> Any:
    """The pipeline of a checkpoint, by its weights, as diffusers tells them apart."""
    told = str(infer_diffusers_model_type(load_single_file_checkpoint(source)))
    return StableDiffusionXLPipeline if told.startswith("xl") else StableDiffusionPipeline


def _check(pipe: Any) -> None:
    """Refuse what has the parts of a family and works in another way."""
    unet = pipe.unet.config
    if pipe.text_encoder is None:
        raise ModelFailed("has one text encoder of SDXL's two: refiners are not served")
    known = {StableDiffusionPipeline: None, StableDiffusionXLPipeline: "text_time"}[type(pipe)]
    if unet.addition_embed_type != known or unet.class_embed_type or unet.encoder_hid_dim_type:
        raise ModelFailed("has a UNet that takes inputs its family does not have")
