"""Loads a base model of the catalog: its family is read from its own files."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

from shared.catalog.entries import SINGLE_FILE, LoadOptions, ModelEntry
from shared.errors import ModelFailed
from shared.families.registry import family_of_pipeline
from shared.families.unet import SDXL
from workers.families.base_model import BaseModel
from workers.families.projection_cache import cache_projections
from workers.model_checks.source import check_model_source
from workers.model_checks.tokenizer import check_backend
from workers.model_checks.weight_files import Unloadable, has_files
from workers.runtime.weights import find_non_finite, find_source, split_revision

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
    """Load a model as the catalog at ``catalog`` says; raises `ModelFailed`."""
    config = None if entry.config is None else find_source(catalog, entry.config)
    options = entry.model_copy(update={"config": config})
    return load_model(name, find_source(catalog, entry.source), entry.dtype, device, options)


@torch.inference_mode(False)
def load_model(
    name: str, source: str, dtype: str, device: str, options: LoadOptions | None = None
) -> BaseModel:
    """Load a model from a diffusers folder, a single file or a hub id; raises `ModelFailed`.

    A hub id may end in ``@`` and a revision. Pickled weights are never read.
    """
    options = options or LoadOptions()
    try:
        source = _local(source, options)
        check_model_source(name, Path(source), options)
        pipe = _load_pipeline(source, getattr(torch, dtype), options)
        _check(pipe)
        pipe.to(device)
    except ModelFailed:
        raise
    except Unloadable as error:
        raise ModelFailed(f"model {name!r} ({source}) cannot be loaded: {error}") from None
    except Exception as error:  # a config can make a library raise anything
        raise ModelFailed(
            f"model {name!r} ({source}) cannot be loaded: {error}{_hint(source, options)}"
        ) from error
    if isinstance(pipe, StableDiffusionXLPipeline) and pipe.vae.config.force_upcast and dtype == "float16":
        pipe.vae.to(torch.float32)  # it overflows in float16; diffusers does this for each picture
    for part in _modules(pipe).values():
        part.eval().requires_grad_(False)
    cache_projections(pipe.unet)
    _turn(pipe, options)
    return BaseModel(name, pipe, options.switches)


def _local(source: str, options: LoadOptions) -> str:
    """The path of a source; what a hub id stands for is brought here first."""
    if Path(source).is_absolute() or Path(source).exists():
        return source
    hub_id, revision = split_revision(source)
    unused = dict.fromkeys(("safety_checker", "feature_extractor"))
    return str(
        DiffusionPipeline.download(
            hub_id, **revision, variant=options.variant, use_safetensors=True, **unused
        )
    )


def _hint(source: str, options: LoadOptions) -> str:
    if source.endswith(SINGLE_FILE) and options.config is None:  # diffusers asks the hub for them
        return "; its catalog key config may name a folder with its configs"
    return ""


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
        try:
            return kind.from_single_file(source, dtype=dtype, **own, **_UNUSED[kind])
        except NotImplementedError:  # diffusers moves weights that were not in the file
            raise Unloadable(f"{_cut_part(source, own)} lacks some of its weights") from None
    kind = _read_kind(source)
    encoders = _load_text_encoders(source, dtype, options)
    weights = {"dtype": dtype, "variant": options.variant, "use_safetensors": True}
    try:
        return kind.from_pretrained(source, **weights, **encoders, **_UNUSED[kind])
    except Exception as error:
        raise Unloadable(f"{_broken_part(source, weights)}{error}") from error


def _broken_part(source: str, weights: Mapping[str, Any]) -> str:
    """The part of a folder that its library cannot load, as a prefix; empty if each can be loaded alone."""
    for part, (library, kind) in _read_index(source).items():
        if library not in ("diffusers", "transformers") or part.startswith("text_encoder"):
            continue  # text encoders have been loaded before
        options = weights if part in ("unet", "vae") else {}
        try:
            getattr(import_module(library), kind).from_pretrained(source, subfolder=part, **options)
        except Exception:
            return f"{part}: "
    return ""


def _cut_part(source: str, own: dict[str, Any]) -> str:
    """The part of a single file that is not whole."""
    for part, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        try:
            kind.from_single_file(source, subfolder=part, **own)
        except NotImplementedError:
            return part
    return "text_encoder"


def _load_text_encoders(source: str, dtype: torch.dtype, options: LoadOptions) -> dict[str, Any]:
    """The text encoders of a folder: transformers makes up weights that are missing, and only logs it."""
    encoders = {}
    for part, (library, kind) in _read_index(source).items():
        if not part.startswith("text_encoder"):
            continue
        if library != "transformers":
            raise Unloadable(f"its {part} is a {library}.{kind}: that is not served")
        own = has_files(Path(source, part), "model", options.variant)
        encoders[part], loading = getattr(transformers, kind).from_pretrained(
            source,
            subfolder=part,
            dtype=dtype,
            variant=options.variant if own else None,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused below, by their names
            output_loading_info=True,
        )
        if lacking := sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}):
            raise Unloadable(_lacks(part, lacking))
    return encoders


def _lacks(part: str, names: list[str]) -> str:
    return f"{part} lacks {len(names)} of its weights, such as {names[0]}"


def _read_index(source: str) -> dict[str, list[str]]:
    """Library and class of each part that is there."""
    index: dict[str, Any] = DiffusionPipeline.load_config(source)
    return {part: list(kind) for part, kind in index.items() if isinstance(kind, list | tuple) and kind[0]}


def _read_kind(source: str) -> Any:
    """The pipeline of a folder."""
    facts = family_of_pipeline(str(DiffusionPipeline.load_config(source).get("_class_name")))
    return StableDiffusionXLPipeline if facts is SDXL else StableDiffusionPipeline


def _kind_of_file(source: str) -> Any:
    """The pipeline of a checkpoint, by its weights, as diffusers tells them apart."""
    told = str(infer_diffusers_model_type(load_single_file_checkpoint(source)))
    return StableDiffusionXLPipeline if told.startswith("xl") else StableDiffusionPipeline


def _check(pipe: Any) -> None:
    """Refuse what has the parts of a family and works in another way, and what is not whole."""
    unet = pipe.unet.config
    known = {StableDiffusionPipeline: None, StableDiffusionXLPipeline: "text_time"}[type(pipe)]
    if unet.addition_embed_type != known or unet.class_embed_type or unet.encoder_hid_dim_type:
        raise Unloadable("it has a UNet that takes inputs its family does not have")
    for part, module in _modules(pipe).items():
        # What was not in the file is still on the device that has no memory.
        if lacking := sorted(name for name, tensor in module.state_dict().items() if tensor.is_meta):
            raise Unloadable(_lacks(part, lacking))
    if weight := find_non_finite(_modules(pipe)):
        raise Unloadable(f"{weight} holds a NaN or an infinity")
    for part, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        if encoder := getattr(pipe, part, None):
            backend = getattr(pipe, tokenizer).backend_tokenizer.to_str()
            check_backend(tokenizer, backend, encoder.config.to_dict())


def _modules(pipe: Any) -> dict[str, Any]:
    parts = ("unet", "vae", "text_encoder", "text_encoder_2")
    return {part: module for part in parts if (module := getattr(pipe, part, None)) is not None}
