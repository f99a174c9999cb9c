"""Loads models that are transformers part by part, and refuses what is not whole."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from shared.catalog.entries import SINGLE_FILE
from shared.families.base import Config
from shared.families.transformer import TransformerFacts
from workers.families.base_controlnet import ControlNetSource, hash_controlnet
from workers.families.base_family import ModelSource
from workers.families.text_encoder_weights import (
    ModelHashes,
    TextEncoderWeights,
    build_on_meta,
    find_hashes,
    hash_model,
)
from workers.families.transformer.controlnet import TransformerControlNet
from workers.families.transformer.model import LoadInfo, TransformerModel, modules_of
from workers.families.transformer.single_file import (
    held_text_encoders,
    load_text_encoder,
    load_weights,
    read_parts,
)
from workers.model_checks.scheduler_override import with_options
from workers.model_checks.tokenizer import check_backend
from workers.model_checks.weight_files import Unloadable, has_files, read_json
from workers.runtime.finite import find_non_finite
from workers.runtime.weights.source import split_revision


@dataclass(frozen=True)
class TransformerFamily(ABC):
    """See `workers.families.base_family.Family`: one family's facts and classes."""

    facts: TransformerFacts
    pipeline: Any  # the class of diffusers that generates from text
    controlnet_class: Any  # of diffusers

    @abstractmethod
    def make_model(self, source: ModelSource, pipe: Any, info: LoadInfo) -> TransformerModel:
        """The base model around a pipeline of `pipeline`, which is on its device."""

    @abstractmethod
    def make_controlnet(
        self, source: ControlNetSource, model: Any, base: Config, sha256: str
    ) -> TransformerControlNet:
        """The ControlNet around ``model``, on its device, for base models whose denoiser has that config."""

    def check_pipeline(self, pipe: Any) -> None:  # noqa: B027 - most need nothing
        """Raise `Unloadable` for a model that has the family's parts and works in another way."""

    def load_controlnet_file(self, source: ControlNetSource) -> Any:
        """The ControlNet in a single file; raises `Unloadable`: most families read none."""
        raise Unloadable(
            f"diffusers reads no {self.controlnet_class.__name__} from a single file: save it as a folder"
        )

    def load_model(self, source: ModelSource) -> TransformerModel:
        """See `Family`."""
        pipe = self._load_pipeline(source)
        hashes: ModelHashes | None = None
        if source.make_room is not None:
            parts = modules_of(pipe, self.facts)
            hashes = find_hashes(source.hash_weights, parts, self.facts.tokenizers)
            if hashes is None:
                source.make_room()
                pipe.register_modules(**self._load_text_encoders(source, self._text_parts(source)))
        parts = modules_of(pipe, self.facts)
        self._check(pipe, parts)
        for part in parts.values():
            part.eval()  # its weights may require gradients, as diffusers' do: kernels depend on it
        hashes = hashes or hash_model(
            source.hash_weights,
            parts,
            self.facts.tokenizers,
            without_text_encoders=source.without_text_encoders,
        )
        pipe.scheduler = with_options(pipe.scheduler, source.options.scheduler_config, self.facts)
        pipe.to(source.device)
        if source.options.vae_slicing:
            pipe.vae.enable_slicing()
        if source.options.vae_tiling:
            pipe.vae.enable_tiling()
        info = LoadInfo(source.options.switches, hashes.sha256, hashes.text_sha256)
        model = self.make_model(source, pipe, info)
        if source.without_text_encoders:
            model.load_apart(hashes.apart)
        return model

    def load_text_encoder(self, source: ModelSource, part: str) -> TextEncoderWeights:
        """See `Family`."""
        encoder = self._load_text_encoders(source, [part])[part]
        if weight := find_non_finite({part: encoder}):
            raise Unloadable(f"{weight} holds a NaN or an infinity")
        sha256 = source.hash_weights.of_text_encoder(part, encoder)  # from the host's memory
        return TextEncoderWeights(encoder.to(source.device), sha256)

    def load_controlnet(self, source: ControlNetSource) -> TransformerControlNet:
        """See `Family`."""
        if source.base is None:
            raise Unloadable("its catalog entry names no base model")
        base = read_denoiser_config(source.base_config or source.base, self.facts.denoiser)
        model = self._load_controlnet_model(source)
        _check_whole({"controlnet": model})
        sha256 = hash_controlnet(model, source.hash_weights)  # from the host's memory
        model.to(source.device).eval()
        return self.make_controlnet(source, model, base, sha256)

    def _load_controlnet_model(self, source: ControlNetSource) -> Any:
        of_folder = {"variant": source.variant, "use_safetensors": True}
        if source.path.endswith(SINGLE_FILE):
            return self.load_controlnet_file(source)
        return self.controlnet_class.from_pretrained(
            source.path, dtype=source.dtype, **source.revision, **of_folder
        )

    def _text_parts(self, source: ModelSource) -> list[str]:
        parts = self.facts.parts_of(read_json(Path(_folder(source)), "model_index.json"))
        return [part for part in parts if part in self.facts.tokenizers]

    def _load_pipeline(self, source: ModelSource) -> Any:
        """The pipeline, with text encoders on meta if the model is loaded without them."""
        folder, options, wanted = _folder(source), source.options, self._text_parts(source)
        if source.without_text_encoders:
            kinds = {part: _class_of(transformers, folder, part) for part in wanted}
            encoders = {part: build_on_meta(kinds[part], folder, part, source.dtype) for part in wanted}
        else:
            encoders = self._load_text_encoders(source, wanted)
        weights = {"dtype": source.dtype, "variant": options.variant, "use_safetensors": True}
        modules = {}
        in_file = read_parts(source.path, self.facts) if source.path.endswith(SINGLE_FILE) else {}
        for part in self.facts.parts:
            if part in self.facts.tokenizers:
                continue
            kind = _class_of(diffusers, folder, part)
            try:
                if part in in_file:
                    modules[part] = load_weights(kind, in_file.pop(part), folder, part, source.dtype)
                else:
                    modules[part] = kind.from_pretrained(folder, subfolder=part, **weights)
            except Exception as error:  # a config can make a library raise anything
                raise Unloadable(f"{part}: {str(error) or repr(error)}") from error
        if options.vae_dtype is not None:
            modules["vae"].to(getattr(torch, options.vae_dtype))
        absent = [part for part in self.facts.optional_parts if part not in encoders]
        nothing = dict.fromkeys([*absent, *(self.facts.tokenizers[part] for part in absent)])
        nothing |= dict.fromkeys(self._unused)
        return self.pipeline.from_pretrained(folder, **encoders, **modules, **nothing, use_safetensors=True)

    def _load_text_encoders(self, source: ModelSource, parts: Iterable[str]) -> dict[str, Any]:
        """Text encoders of a single file that holds them, and those of a folder."""
        is_file = source.path.endswith(SINGLE_FILE)
        in_file = held_text_encoders(source.path, self.facts) if is_file else {}
        encoders = _load_folders_text_encoders(source, [part for part in parts if part not in in_file])
        for part in parts:
            if part not in in_file:
                continue
            kind = _class_of(transformers, _folder(source), part)
            try:
                encoders[part] = load_text_encoder(
                    source.path, in_file[part], kind, _folder(source), part, source.dtype
                )
            except Exception as error:  # a config can make a library raise anything
                raise Unloadable(f"{part}: {str(error) or repr(error)}") from error
        return encoders

    @property
    def _unused(self) -> list[str]:
        """Components of the pipeline that no job needs, such as an image encoder."""
        optional: list[str] = self.pipeline._optional_components
        return [name for name in optional if name not in self.facts.parts]

    def _check(self, pipe: Any, parts: Mapping[str, nn.Module]) -> None:
        self.check_pipeline(pipe)
        _check_whole(parts)
        for part, tokenizer in self.facts.tokenizers.items():
            if part not in parts:
                continue
            backend = getattr(pipe, tokenizer).backend_tokenizer.to_str()
            check_backend(tokenizer, backend, getattr(pipe, part).config.to_dict())


def read_denoiser_config(source: str, denoiser: str) -> Config:
    """The config of a base model's denoiser."""
    if source.endswith(SINGLE_FILE):
        raise Unloadable("its base model is a single file, whose catalog entry names no config")
    if Path(source).is_dir():
        return read_json(Path(source), f"{denoiser}/config.json")
    hub_id, revision = split_revision(source)
    config: Config = diffusers.ModelMixin.load_config(hub_id, subfolder=denoiser, **revision)
    return config


def _folder(source: ModelSource) -> str:
    """The diffusers folder that has everything but the denoiser of a single file."""
    if not source.path.endswith(SINGLE_FILE):
        return source.path
    if source.options.config is None:
        raise Unloadable(
            "a single file has no text encoders: its catalog key config must name a folder with the rest"
        )
    return source.options.config


def _load_folders_text_encoders(source: ModelSource, parts: Iterable[str]) -> dict[str, Any]:
    """Text encoders of a folder: transformers makes up weights that are missing, and only logs it."""
    encoders, folder, variant = {}, _folder(source), source.options.variant
    for part in parts:
        own = has_files(Path(folder, part), "model", variant)
        encoders[part], loading = _class_of(transformers, folder, part).from_pretrained(
            folder,
            subfolder=part,
            dtype=source.dtype,
            variant=variant if own else None,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused below, by their names
            output_loading_info=True,
        )
        if lacking := sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}):
            raise Unloadable(f"{part} lacks {len(lacking)} of its weights, such as {lacking[0]}")
    return encoders


def _class_of(library: Any, folder: str, part: str) -> Any:
    """The class of a part, as ``model_index.json`` names it; it must be of ``library``."""
    module, name = (read_json(Path(folder), "model_index.json").get(part) or [None, None])[:2]
    found = getattr(library, name, None) if module == library.__name__ and isinstance(name, str) else None
    if found is None:
        raise Unloadable(f"its {part} is a {module}.{name}: that is not served")
    return found


def _check_whole(parts: Mapping[str, nn.Module]) -> None:
    """Refuse parts that lack weights, which are still on the device that has no memory, or hold NaN."""
    for part, module in parts.items():
        lacking = sorted(name for name, tensor in module.state_dict().items() if tensor.is_meta)
        if lacking:
            raise Unloadable(f"{part} lacks {len(lacking)} of its weights, such as {lacking[0]}")
    if weight := find_non_finite(parts):
        raise Unloadable(f"{weight} holds a NaN or an infinity")
