"""Loads the base models of the catalog: which family's code does it is read from their own files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import DiffusionPipeline

from shared.catalog.entries import SINGLE_FILE, LoadOptions, ModelEntry
from shared.errors import ModelFailed
from shared.families.base import FamilyFacts
from shared.families.registry import family_of_file, family_of_pipeline
from workers.devices.errors import device_error
from workers.devices.selection import find_device
from workers.families.base import BaseModel
from workers.families.base_family import ModelSource
from workers.families.registry import family
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.model_checks.source import check_model_source
from workers.model_checks.weight_files import Unloadable, read_header
from workers.runtime.weights.download import naming_failures
from workers.runtime.weights.hash_cache import HashCache, LoadHashes
from workers.runtime.weights.source import find_source, is_on_hub, split_revision

Loaded = TypeVar("Loaded")


def load_entry(
    name: str,
    entry: ModelEntry,
    catalog: Path,
    device: str,
    hashes: HashCache | None = None,
    *,
    without_text_encoders: bool = False,
    make_room: Callable[[], object] = lambda: None,
) -> BaseModel:
    """Load a model as the catalog at ``catalog`` says; raises `ModelFailed`.

    Its weights are hashed unless ``hashes`` knows them. ``without_text_encoders``: see
    `load_entry_text_encoder`; ``make_room`` is called before they are read all the same, to be hashed.
    """
    source, options = _located(entry, catalog)
    return load_model(
        name,
        source,
        entry.dtype,
        device,
        options,
        hashes,
        without_text_encoders=without_text_encoders,
        make_room=make_room,
    )


def download_entry(name: str, entry: ModelEntry, catalog: Path) -> None:
    """Bring here what an entry's hub id stands for, as `load_entry` does, too; raises `ModelFailed`."""
    with naming_failures(f"model {name!r} ({entry.source})"):
        _local(find_source(catalog, entry.source), entry.variant)


@torch.inference_mode(False)
def load_entry_text_encoder(
    name: str, part: str, entry: ModelEntry, catalog: Path, device: str, hashes: HashCache | None = None
) -> TextEncoderWeights:
    """Load the weights of one of a model's text encoders; raises as `load_entry`."""
    source, options = _located(entry, catalog)

    def load(facts: FamilyFacts, wanted: ModelSource) -> TextEncoderWeights:
        return family(facts.name).load_text_encoder(wanted, part)

    return _load(name, source, entry.dtype, device, options, hashes, load)


def _located(entry: ModelEntry, catalog: Path) -> tuple[str, LoadOptions]:
    config = None if entry.config is None else find_source(catalog, entry.config)
    return find_source(catalog, entry.source), entry.model_copy(update={"config": config})


@torch.inference_mode(False)
def load_model(
    name: str,
    source: str,
    dtype: str,
    device: str,
    options: LoadOptions | None = None,
    hashes: HashCache | None = None,
    *,
    without_text_encoders: bool = False,
    make_room: Callable[[], object] = lambda: None,
) -> BaseModel:
    """Load a model from a diffusers folder, a single file or a hub id; raises `ModelFailed`.

    A hub id may end in ``@`` and a revision. Pickled weights are never read.
    """

    def load(facts: FamilyFacts, wanted: ModelSource) -> BaseModel:
        apart = without_text_encoders and bool(facts.tokenizers)
        own = dataclasses.replace(wanted, make_room=make_room if apart else None)
        return family(facts.name).load_model(own)

    return _load(name, source, dtype, device, options or LoadOptions(), hashes, load)


def _load(
    name: str,
    source: str,
    dtype: str,
    device: str,
    options: LoadOptions,
    hashes: HashCache | None,
    load: Callable[[FamilyFacts, ModelSource], Loaded],
) -> Loaded:
    try:
        source = _local(source, options.variant)
        check_model_source(name, Path(source), options)
        facts = _facts_of(source)
        decisive = set(LoadOptions.model_fields) - {"memory_format", "scheduler_config"}  # of the weights
        given = {"dtype": dtype, **options.model_dump(include=decisive)}
        beside = [] if options.config is None else [options.config]
        wanted = ModelSource(
            name=name,
            path=source,
            dtype=getattr(torch, dtype),
            device=device,
            options=options,
            hash_weights=hashes.for_load(source, *beside, **given) if hashes else LoadHashes(),
        )
        return load(facts, wanted)
    except ModelFailed:
        raise
    except Unloadable as error:
        raise ModelFailed(f"model {name!r} ({source}) cannot be loaded: {error}") from None
    except Exception as error:  # a config can make a library raise anything
        if (at_fault := device_error(error, find_device(device))) is not None:
            raise at_fault from error
        raise ModelFailed(
            f"model {name!r} ({source}) cannot be loaded: {str(error) or repr(error)}{_hint(source, options)}"
        ) from error


def _local(source: str, variant: str | None) -> str:
    """The path of a source; what a hub id stands for is brought here first."""
    if not is_on_hub(source):
        return source
    hub_id, revision = split_revision(source)
    unused = dict.fromkeys(("safety_checker", "feature_extractor"))
    return str(
        DiffusionPipeline.download(hub_id, **revision, variant=variant, use_safetensors=True, **unused)
    )


def _facts_of(path: str) -> FamilyFacts:
    """The family of a folder or a single file; one of several that are loaded alike."""
    if path.endswith(SINGLE_FILE):
        file = Path(path)
        facts = family_of_file(list(read_header(file.parent, file).tensors))
    else:
        facts = family_of_pipeline(str(DiffusionPipeline.load_config(path).get("_class_name")))
    if facts is None:
        raise Unloadable("it is of no family that is served")
    return facts


def _hint(source: str, options: LoadOptions) -> str:
    if source.endswith(SINGLE_FILE) and options.config is None:  # diffusers asks the hub for them
        return "; its catalog key config may name a folder with its configs"
    return ""
