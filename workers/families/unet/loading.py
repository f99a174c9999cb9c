"""Loads base models and ControlNets of the UNet families with diffusers, and refuses what is not whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

from shared.catalog.entries import SINGLE_FILE, LoadOptions
from shared.families.registry import family_of_pipeline
from shared.families.unet import SDXL, UNetFacts
from workers.families.base_controlnet import ControlNetSource, hash_controlnet
from workers.families.base_family import ModelSource
from workers.families.text_encoder_weights import (
    ModelHashes,
    TextEncoderWeights,
    build_on_meta,
    find_hashes,
    hash_model,
)
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.controlnet_union import UNetControlNetUnion
from workers.families.unet.model import UNetModel
from workers.families.unet.projection_cache import cache_projections
from workers.families.unet.sdxl import SDXLModel
from workers.families.unet.stable_diffusion import StableDiffusionModel
from workers.model_checks.scheduler_override import with_options
from workers.model_checks.tokenizer import check_backend
from workers.model_checks.weight_files import Unloadable, has_files
from workers.runtime.finite import find_non_finite

#: Parts and switches of each pipeline that no image here needs.
_UNUSED: dict[Any, dict[str, Any]] = {
    StableDiffusionPipeline: {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    StableDiffusionXLPipeline: {"add_watermarker": False},
}

_MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class UNetFamily:
    """See `workers.families.base_family.Family`; the families of UNets differ in their facts alone."""

    facts: UNetFacts

    def load_model(self, source: ModelSource) -> UNetModel:
        """See `Family`."""
        options, make_room = source.options, source.make_room
        folder = _config_folder(source.path, options)
        if folder is None and make_room is not None:
            make_room()  # all of it is read
            make_room = None
        pipe = _load_pipeline(source.path, source.dtype, options, on_meta=make_room is not None)
        hashes: ModelHashes | None = None
        is_xl = isinstance(pipe, StableDiffusionXLPipeline)
        if options.vae_dtype is not None:
            pipe.vae.to(getattr(torch, options.vae_dtype))
        elif is_xl and source.dtype == torch.float16 and pipe.vae.config.force_upcast:
            pipe.vae.to(torch.float32)  # it overflows in float16; diffusers does this for each image
        if make_room is not None:
            hashes = find_hashes(source.hash_weights, _modules(pipe), self.facts.tokenizers)
            if hashes is None:
                make_room()
                pipe.register_modules(**_load_text_encoders(source.path, source.dtype, options))
        _check(pipe)
        parts = _modules(pipe)
        for part in parts.values():
            part.eval()  # its weights may require gradients, as diffusers' do: kernels depend on it
        hashes = hashes or hash_model(
            source.hash_weights,
            parts,
            self.facts.tokenizers,
            without_text_encoders=source.without_text_encoders,
        )
        pipe.scheduler = with_options(pipe.scheduler, options.scheduler_config, self.facts)
        pipe.to(source.device)
        for part in (pipe.unet, pipe.vae):
            part.to(memory_format=_MEMORY_FORMATS[options.memory_format])
        cache_projections(pipe.unet)
        _switch_on(pipe, options)
        model = unet_model(source.name, pipe, options.switches, hashes.sha256, hashes.text_sha256)
        model.memory_format = options.memory_format
        if source.without_text_encoders:
            model.load_apart(hashes.apart)
        return model

    def load_text_encoder(self, source: ModelSource, part: str) -> TextEncoderWeights:
        """See `Family`; of a single file without a folder of configs all parts are read."""
        if _config_folder(source.path, source.options) is None:
            encoder = _modules(_load_pipeline(source.path, source.dtype, source.options))[part]
        else:
            encoder = _load_text_encoders(source.path, source.dtype, source.options, only=part)[part]
        if weight := find_non_finite({part: encoder}):
            raise Unloadable(f"{weight} holds a NaN or an infinity")
        sha256 = source.hash_weights.of_text_encoder(part, encoder)  # from the host's memory
        return TextEncoderWeights(encoder.to(source.device), sha256)

    def load_controlnet(self, source: ControlNetSource) -> UNetControlNet:
        """See `Family`."""
        kind, load = _find_kind(source)
        of_folder = {"variant": source.variant, "use_safetensors": True}
        own = {"config": source.config, "local_files_only": True} if source.config else {}
        options = own if source.path.endswith(SINGLE_FILE) else of_folder
        try:
            model = load(source.path, dtype=source.dtype, **source.revision, **options)
        except NotImplementedError:  # diffusers moves weights that were not in the single file
            raise Unloadable("it lacks some of its weights") from None
        if lacking := _lacking(model):
            raise Unloadable(f"it lacks {len(lacking)} of its weights, such as {lacking[0]}")
        if weight := find_non_finite({"controlnet": model}):
            raise Unloadable(f"{weight} holds a NaN or an infinity")
        sha256 = hash_controlnet(model, source.hash_weights)  # from the host's memory
        model.to(source.device, memory_format=_MEMORY_FORMATS[source.memory_format])
        cache_projections(model)
        controlnet = kind(source.name, model.eval(), sha256)
        controlnet.memory_format = source.memory_format
        return controlnet


def unet_model(
    name: str,
    pipe: Any,
    switches: Mapping[str, Any] | None = None,
    sha256: str | None = None,
    text_sha256: str | None = None,
) -> UNetModel:
    """The base model around a pipeline of diffusers; its weights are hashed unless their hashes are known."""
    kind = SDXLModel if isinstance(pipe, StableDiffusionXLPipeline) else StableDiffusionModel
    return kind(name, pipe, switches, sha256, text_sha256)


def _find_kind(source: ControlNetSource) -> tuple[type[UNetControlNet], Any]:
    """What serves the ControlNet, and what loads it; a single file holds an ordinary one."""
    if source.path.endswith(SINGLE_FILE):
        return UNetControlNet, ControlNetModel.from_single_file
    config = ControlNetModel.load_config(source.path, **source.revision)
    if config.get("_class_name") == ControlNetUnionModel.__name__:
        return UNetControlNetUnion, ControlNetUnionModel.from_pretrained
    return UNetControlNet, ControlNetModel.from_pretrained


def _switch_on(pipe: Any, options: LoadOptions) -> None:
    if options.attention_slicing is not None:
        pipe.enable_attention_slicing(options.attention_slicing)
    if options.vae_slicing:
        pipe.vae.enable_slicing()
    if options.vae_tiling:
        pipe.vae.enable_tiling()


def _config_folder(path: str, options: LoadOptions) -> str | None:
    """The folder with the configs of all parts; of a single file the one that the catalog names, if any."""
    return options.config if path.endswith(SINGLE_FILE) else path


def _load_pipeline(path: str, dtype: torch.dtype, options: LoadOptions, *, on_meta: bool = False) -> Any:
    """``on_meta``: without the weights of text encoders, see `build_on_meta`."""
    encoders, folder = {}, _config_folder(path, options)
    if on_meta and folder is not None:
        kinds = _text_encoder_classes(folder)
        encoders = {part: build_on_meta(kind, folder, part, dtype) for part, kind in kinds.items()}
    if path.endswith(SINGLE_FILE):
        return _load_file(path, dtype, options, **encoders)
    kind, encoders = _read_kind(path), encoders or _load_text_encoders(path, dtype, options)
    weights = {"dtype": dtype, "variant": options.variant, "use_safetensors": True}
    try:
        return kind.from_pretrained(path, **weights, **encoders, **_UNUSED[kind])
    except Exception as error:
        raise Unloadable(f"{_broken_part(path, weights)}{str(error) or repr(error)}") from error


def _load_file(path: str, dtype: torch.dtype, options: LoadOptions, **parts: Any) -> Any:
    """The pipeline of a single file, with these ``parts`` in place of those in the file."""
    kind = _read_kind(options.config) if options.config else _kind_of_file(path)
    own = {"config": options.config, "local_files_only": True} if options.config else {}
    try:
        return kind.from_single_file(path, dtype=dtype, **own, **_UNUSED[kind], **parts)
    except NotImplementedError:  # diffusers moves weights that were not in the file
        raise Unloadable(f"{_cut_part(path, own)} lacks some of its weights") from None


def _broken_part(path: str, weights: Mapping[str, Any]) -> str:
    """The part of a folder that its library cannot load, as a prefix; empty if each can be loaded alone."""
    for part, (library, kind) in _read_index(path).items():
        if library not in ("diffusers", "transformers") or part.startswith("text_encoder"):
            continue  # text encoders have been loaded before
        options = weights if part in ("unet", "vae") else {}
        try:
            getattr(import_module(library), kind).from_pretrained(path, subfolder=part, **options)
        except Exception:
            return f"{part}: "
    return ""


def _cut_part(path: str, own: dict[str, Any]) -> str:
    """The part of a single file that is not whole."""
    for part, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        try:
            kind.from_single_file(path, subfolder=part, **own)
        except NotImplementedError:
            return part
    return "text_encoder"


def _load_text_encoders(
    path: str, dtype: torch.dtype, options: LoadOptions, *, only: str | None = None
) -> dict[str, Any]:
    """The text encoders of a folder: transformers makes up weights that are missing, and only logs it.

    Of a single file that has a folder of configs, too.
    """
    if path.endswith(SINGLE_FILE):
        wanted = _text_encoder_classes(str(options.config))
        others = [part for part in ("unet", "vae", *wanted) if part not in wanted or only not in (None, part)]
        pipe = _load_file(path, dtype, options, **dict.fromkeys(others))
        return {part: getattr(pipe, part) for part in wanted if part not in others}
    encoders = {}
    for part, kind in _text_encoder_classes(path).items():
        if only not in (None, part):
            continue
        own = has_files(Path(path, part), "model", options.variant)
        encoders[part], loading = kind.from_pretrained(
            path,
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


def _text_encoder_classes(path: str) -> dict[str, Any]:
    classes = {}
    for part, (library, kind) in _read_index(path).items():
        if part.startswith("text_encoder"):
            if library != "transformers":
                raise Unloadable(f"its {part} is a {library}.{kind}: that is not served")
            classes[part] = getattr(transformers, kind)
    return classes


def _lacks(part: str, names: list[str]) -> str:
    return f"{part} lacks {len(names)} of its weights, such as {names[0]}"


def _lacking(module: Any) -> list[str]:
    """Weights that were not in the file: they are still on the device that has no memory."""
    return sorted(name for name, tensor in module.state_dict().items() if tensor.is_meta)


def _read_index(path: str) -> dict[str, list[str]]:
    """Library and class of each part that is there."""
    index: dict[str, Any] = DiffusionPipeline.load_config(path)
    return {part: list(kind) for part, kind in index.items() if isinstance(kind, list | tuple) and kind[0]}


def _read_kind(path: str) -> Any:
    """The pipeline of a folder."""
    facts = family_of_pipeline(str(DiffusionPipeline.load_config(path).get("_class_name")))
    return StableDiffusionXLPipeline if facts is SDXL else StableDiffusionPipeline


def _kind_of_file(path: str) -> Any:
    """The pipeline of a checkpoint, by its weights, as diffusers tells them apart."""
    kind = str(infer_diffusers_model_type(load_single_file_checkpoint(path)))
    return StableDiffusionXLPipeline if kind.startswith("xl") else StableDiffusionPipeline


def _check(pipe: Any) -> None:
    """Refuse what has the parts of a family and works in another way, and what is not whole."""
    unet = pipe.unet.config
    known = {StableDiffusionPipeline: None, StableDiffusionXLPipeline: "text_time"}[type(pipe)]
    if unet.addition_embed_type != known or unet.class_embed_type or unet.encoder_hid_dim_type:
        raise Unloadable("it has a UNet that takes inputs its family does not have")
    for part, module in _modules(pipe).items():
        if lacking := _lacking(module):
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
