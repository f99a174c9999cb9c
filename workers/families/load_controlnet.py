"""Loads the ControlNets of the catalog on demand: in workers that serve them, and where none does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin

from shared.catalog.controlnet_bases import Base, sharing_problem
from shared.catalog.controlnet_files import derive_config
from shared.catalog.entries import HUB, SINGLE_FILE, Catalog, MemoryFormat
from shared.catalog.model_families import ModelFamilies
from shared.errors import CatalogGone, ModelFailed
from shared.families.controlnets import incompatibility
from shared.families.registry import (
    denoisers,
    family_of,
    family_of_controlnet,
    family_of_controlnet_file,
)
from shared.settings import Settings
from workers.devices.errors import device_error
from workers.devices.selection import find_device
from workers.engines.selection import make_engines
from workers.families.base_controlnet import ControlNet, ControlNetSource
from workers.families.engine_memory import with_engines
from workers.families.registry import family
from workers.model_checks.entry_options import controlnet_option_problem
from workers.model_checks.source import check_controlnet_entry, check_controlnet_source
from workers.model_checks.weight_files import Unloadable, read_header
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.weights.controlnet_bytes import ControlNetBytes
from workers.runtime.weights.hash_cache import HASH_FOLDER, HashCache, HashWeights
from workers.runtime.weights.loaded import weights_sha256
from workers.runtime.weights.source import find_source, split_revision


def controlnet_cache(
    catalog: Catalog, settings: Settings, memory: DeviceMemory, *, compiles: bool = True
) -> ModelCache[ControlNet]:
    """Every ControlNet of the catalog, within ``memory``; one that does not fit its models is not loaded.

    ``compiles``: else those whose engine is ``compile`` are run by ``graphs``. Compiling takes minutes: too
    long where ControlNets are loaded beside jobs, and run between and within them.
    """

    hashes, sizes = HashCache(settings.home / HASH_FOLDER), ControlNetBytes(settings.catalog, catalog)

    def located(source: str | None) -> str | None:
        return None if source is None else find_source(settings.catalog, source)

    def source(name: str) -> tuple[str, str]:
        entry = catalog.controlnets.get(name)
        if entry is None:
            raise CatalogGone("controlnet", name)
        dtype = entry.dtype or catalog.models[entry.models[0]].dtype
        return find_source(settings.catalog, entry.source), dtype

    def load(name: str) -> ControlNet:
        entry = catalog.controlnets[name]
        controlnet = load_controlnet(
            name,
            *source(name),
            settings.device,
            entry.variant,
            located(catalog.models[entry.models[0]].source),
            hashes,
            entry.memory_format,
            config=located(entry.config),
            base_config=located(catalog.models[entry.models[0]].config),
        )
        engine = "graphs" if entry.engine == "compile" and not compiles else entry.engine
        facts = family_of_controlnet(controlnet.model.config)
        if facts and (why := controlnet_option_problem(facts, entry, controlnet.model.config)):
            raise ModelFailed(f"ControlNet {name!r}: {why}")
        controlnet.engines = make_engines(engine, name, find_device(settings.device), settings.home)
        bases = [
            Base(model, known, _check_fit(controlnet, model, known.config or known.source, settings))
            for model, known in ((model, catalog.models[model]) for model in entry.models)
        ]
        for base in bases:
            if why := sharing_problem(name, entry, controlnet.model.config, bases[0], base):
                raise ModelFailed(why)
        return controlnet

    return with_engines(ModelCache(load, memory, sizes.estimate, sizes.download), memory)


def check_controlnet(catalog: Catalog, settings: Settings, name: str) -> None:
    """Raise `ModelFailed` if a ControlNet's files say that it cannot be loaded or does not fit its models.

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
    name: str,
    source: str,
    dtype: str,
    device: str,
    variant: str | None = None,
    base: str | None = None,
    hashes: HashCache | None = None,
    memory_format: MemoryFormat = "contiguous",
    *,
    config: str | None = None,
    base_config: str | None = None,
) -> ControlNet:
    """Load a ControlNet from a diffusers folder, a single file or a hub id; raises `ModelFailed`.

    ``base`` is where its first base model lies, for families that need layers of it. Its weights are hashed
    unless ``hashes`` knows them. ``config`` and ``base_config`` are folders with the configs of single files.
    """
    hub_id, revision = split_revision(source)
    if Path(source).exists() or (not revision and Path(source).is_absolute()):
        check_controlnet_source(name, Path(source), variant, config)
    try:
        if source.endswith(SINGLE_FILE):
            file = Path(source)
            tensors = read_header(file.parent, file).tensors
            facts = family_of_controlnet_file(list(tensors))
            described = read_config(config) if config else derive_config(tensors) or {}
        else:
            described = read_config(source)
            facts = family_of_controlnet(described)
        if facts is None:
            raise Unloadable("it is of no family that is served")
        if described and (problem := facts.controlnet_problem(described)):
            raise Unloadable(problem)
        reads_base = bool(facts.controlnet_layers) or facts.keeps_base_layer(described)
        beside = [folder for folder in (config, base if reads_base else None) if folder]
        wanted = ControlNetSource(
            name=name,
            path=hub_id,
            dtype=getattr(torch, dtype),
            device=device,
            variant=variant,
            revision=revision,
            config=config,
            base=base,
            base_config=base_config,
            memory_format=memory_format,
            hash_weights=_hashing(hashes, source, beside, dtype=dtype, variant=variant),
        )
        return family(facts.name).load_controlnet(wanted)
    except ModelFailed:
        raise
    except Unloadable as error:
        raise ModelFailed(f"ControlNet {name!r} ({source}) cannot be loaded: {error}") from None
    except Exception as error:  # a config can make a library raise anything
        if (at_fault := device_error(error, find_device(device))) is not None:
            raise at_fault from error
        raise ModelFailed(
            f"ControlNet {name!r} ({source}) cannot be loaded: {str(error) or repr(error)}"
        ) from error


def read_config(source: str, part: str | None = None) -> Mapping[str, Any]:
    """The config in a folder or of a hub id, which may end in ``@`` and a revision; ``part`` is a subfolder.

    Raises `OSError` if there is none, `ValueError` if it is no JSON object.
    """
    path, revision = split_revision(source)
    config: Any = _Config.load_config(path, subfolder=part, **revision)
    if not isinstance(config, Mapping):
        raise ValueError(f"{source}: its config is no JSON object")
    return config


def _hashing(hashes: HashCache | None, source: str, beside: Sequence[str], **options: Any) -> HashWeights:
    return weights_sha256 if hashes is None else hashes.for_load(source, *beside, **options)


class _Config(ConfigMixin):
    """Reads the config of any model, from a folder or the hub."""

    config_name = "config.json"


def _check_fit(
    controlnet: ControlNet, base: str, source: str, settings: Settings
) -> Mapping[str, Any] | None:
    """Where neither is a folder, only now is it known; of a model in a single file not even now.

    Returns the config of the model's denoiser, if it is known.
    """
    if source.endswith(SINGLE_FILE):
        return None
    path = find_source(settings.catalog, source)
    configs: dict[str, Mapping[str, Any]] = {}
    for part in denoisers():
        try:
            configs[part] = read_config(path, part)
        except OSError:
            continue
    if not configs and not source.startswith(HUB):
        raise ModelFailed(f"model {base!r} ({split_revision(path)[0]}) has none of {', '.join(denoisers())}")
    facts, own = family_of(configs), family_of_controlnet(controlnet.model.config)
    if facts is None or own is None:
        return None  # not reachable from here: a step that does not fit is refused by the base model's worker
    signature, base_signature = (
        own.signature(controlnet.model.config),
        facts.signature(configs[facts.denoiser]),
    )
    why = incompatibility(controlnet.name, signature, base, base_signature)
    if why is not None:
        raise ModelFailed(why)
    return configs[facts.denoiser]
