"""The ControlNets of the catalog, loaded on demand: by the workers that serve them, and where none does."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel

from shared.catalog.entries import HUB, SINGLE_FILE, Catalog
from shared.catalog.model_families import ModelFamilies
from shared.errors import CatalogGone, ModelFailed
from shared.families.base import incompatibility
from shared.families.registry import family_of, family_of_controlnet
from shared.settings import Settings
from workers.families.projection_cache import cache_projections
from workers.families.unet_controlnet import ControlNet
from workers.families.unet_controlnet_union import ControlNetUnion
from workers.model_checks.source import check_controlnet_entry, check_controlnet_source
from workers.model_checks.weight_files import Unloadable
from workers.runtime.model_cache import DeviceMemory, ModelCache
from workers.runtime.weights import estimate_bytes, find_non_finite, find_source, split_revision


def controlnet_cache(catalog: Catalog, settings: Settings, memory: DeviceMemory) -> ModelCache[ControlNet]:
    """Every ControlNet of the catalog, within ``memory``; one that does not fit its models is not loaded."""

    def source(name: str) -> tuple[str, str]:
        entry = catalog.controlnets.get(name)
        if entry is None:
            raise CatalogGone("controlnet", name)
        dtype = entry.dtype or catalog.models[entry.models[0]].dtype
        return find_source(settings.catalog, entry.source), dtype

    def load(name: str) -> ControlNet:
        controlnet = load_controlnet(name, *source(name), settings.device, catalog.controlnets[name].variant)
        for base in catalog.controlnets[name].models:
            _check_fit(controlnet, base, catalog.models[base].source, settings)
        return controlnet

    return ModelCache(load, memory, lambda name: estimate_bytes(*source(name)))


def check_controlnet(catalog: Catalog, settings: Settings, name: str) -> None:
    """Raise `ModelFailed` if a net's files say that it cannot be loaded or does not fit its models.

    Nothing is loaded.
    """
    check_controlnet_entry(name, catalog.controlnets[name], settings.catalog)
    families = ModelFamilies(settings.catalog, catalog)
    for base in catalog.controlnets[name].models:
        why = families.incompatibility(name, base)
        if why is not None:
            raise ModelFailed(why)


@torch.inference_mode(False)  # a job may be the first to need it, in the middle of its loop
def load_controlnet(
    name: str, source: str, dtype: str, device: str, variant: str | None = None
) -> ControlNet:
    """Load a ControlNet from a diffusers folder, a single file or a hub id; raises `ModelFailed`."""
    hub_id, revision = split_revision(source)
    if Path(source).exists() or (not revision and Path(source).is_absolute()):
        check_controlnet_source(name, Path(source), variant)
    try:
        kind, load = _find_kind(hub_id, revision)
        of_folder = {} if source.endswith(SINGLE_FILE) else {"variant": variant, "use_safetensors": True}
        model = load(hub_id, dtype=getattr(torch, dtype), **revision, **of_folder)
        _check_whole(model)
        model.to(device)
    except NotImplementedError:  # diffusers moves weights that were not in the single file
        why = "it lacks some of its weights"
        raise ModelFailed(f"ControlNet {name!r} ({source}) cannot be loaded: {why}") from None
    except Exception as error:  # a config can make a library raise anything
        raise ModelFailed(f"ControlNet {name!r} ({source}) cannot be loaded: {error}") from error
    cache_projections(model)
    return kind(name, model.eval().requires_grad_(False))


def _find_kind(source: str, revision: dict[str, str]) -> tuple[type[ControlNet], Any]:
    """What serves the ControlNet, and what loads it; a single file holds an ordinary one."""
    if source.endswith(SINGLE_FILE):
        return ControlNet, ControlNetModel.from_single_file
    if ControlNetModel.load_config(source, **revision).get("_class_name") == "ControlNetUnionModel":
        return ControlNetUnion, ControlNetUnionModel.from_pretrained
    return ControlNet, ControlNetModel.from_pretrained


def _check_whole(model: Any) -> None:
    # What was not in the file is still on the device that has no memory.
    if lacking := sorted(name for name, tensor in model.state_dict().items() if tensor.is_meta):
        raise Unloadable(f"it lacks {len(lacking)} of its weights, such as {lacking[0]}")
    if weight := find_non_finite({"controlnet": model}):
        raise Unloadable(f"{weight} holds a NaN or an infinity")


def _check_fit(controlnet: ControlNet, base: str, source: str, settings: Settings) -> None:
    """Where neither is a folder, only now is it known; of a model in a single file not even now."""
    if source.endswith(SINGLE_FILE):
        return
    path, revision = split_revision(find_source(settings.catalog, source))
    try:
        config = UNet2DConditionModel.load_config(path, subfolder="unet", **revision)
    except OSError as error:
        if source.startswith(HUB):
            return  # not reachable from here: a step that does not fit is refused by the UNet's worker
        raise ModelFailed(f"model {base!r} ({path}) has no UNet: {error}") from error
    facts, own = family_of({"unet": config}), family_of_controlnet(controlnet.model.config)
    if facts is None or own is None:
        return
    signature, base_signature = own.signature(controlnet.model.config), facts.signature(config)
    why = incompatibility(controlnet.name, signature, base, base_signature)
    if why is not None:
        raise ModelFailed(why)
