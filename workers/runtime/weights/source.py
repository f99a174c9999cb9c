"""Weights on disk: where their source is, its files, and what they will take once they are loaded."""

import json
import math
import re
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from shared.catalog.entries import HUB, locate
from shared.families.base import FamilyFacts
from shared.families.registry import denoisers, family_of_file, family_of_pipeline

#: File names of weights up to the first dot or dash: diffusers' and those of transformers.
_STEMS = ("diffusion_pytorch_model", "model")
#: Of a part in several files, the one that says which of them has which weights.
INDEX = f"{_STEMS[0]}.safetensors.index.json"
#: What stands before the names of a denoiser's weights in many single files.
FILE_PREFIX = "model.diffusion_model."
_SHARD = re.compile(r"-\d+-of-(\d+)")


def find_source(catalog: Path, source: str) -> str:
    """What diffusers loads: a local path, or the hub id behind ``hub:``, with its revision if it has one."""
    return source.removeprefix(HUB) if source.startswith(HUB) else str(locate(catalog, source))


def split_revision(source: str) -> tuple[str, dict[str, str]]:
    """A result of `find_source` as diffusers takes it: the path or hub id, and ``revision`` if it has one."""
    hub_id, _, revision = source.partition("@")
    if Path(source).is_absolute() or not revision:
        return source, {}
    return hub_id, {"revision": revision}


def is_on_hub(source: str) -> bool:
    """Whether a result of `find_source` is a hub id, which may lie in the hub's cache."""
    path = Path(source)
    return not path.is_absolute() and not path.exists()


def local_path(source: str) -> Path | None:
    """Where a result of `find_source` lies; of a hub id what is in the hub's cache. None: nothing of it is.

    Of what a hub's repository has, only what is loaded is downloaded.
    """
    if not is_on_hub(source):
        return Path(source)
    hub_id, revision = split_revision(source)
    # Of a base model there may be no more than layers of its denoiser, for ControlNets
    for described in ("model_index.json", "config.json", *(f"{part}/config.json" for part in denoisers())):
        try:
            found = try_to_load_from_cache(hub_id, described, revision=revision.get("revision"))
        except ValueError:  # it is no hub id
            return None
        if isinstance(found, str):
            return Path(found).parents[described.count("/")]
    return None


def estimate_bytes(source: str, dtype: str, *, config: str | None = None, without: str | None = None) -> int:
    """Bytes of a source's weights once they are loaded as ``dtype``; 0 where that cannot be seen from here.

    That is so of a hub id until all that is loaded of it has been downloaded.

    How the files store their numbers, in eight bits or sixteen, makes no difference. ``config``: the folder
    that has the parts which a single file lacks. ``without``: parts whose names begin so do not count.
    """
    path = local_path(source)
    itemsize = torch.empty(0, dtype=getattr(torch, dtype)).element_size()
    try:
        if path is None or (is_on_hub(source) and not _is_downloaded(path)):
            return 0
        if not path.is_file():
            return sum(map(_count, _folder_files(path, without))) * itemsize
        names = _names(path)
        facts = family_of_file(names)
        own = () if facts is None else facts.file_parts(names)
        others = _folder_files(Path(config), without, beside=own) if config and own else []
        apart = _text_encoder_prefixes(facts, without)
        return (_count(path, besides=apart) + sum(map(_count, others))) * itemsize
    except (OSError, ValueError, AttributeError, SafetensorError):
        return 0  # the load will say what is wrong with it


def _text_encoder_prefixes(facts: FamilyFacts | None, without: str | None) -> tuple[str, ...]:
    """What names of weights in a single file begin with, of parts whose names begin with ``without``."""
    if facts is None or without is None:
        return ()
    return tuple(prefix for part, prefix in facts.file_text_encoders.items() if part.startswith(without))


def estimate_layer_bytes(source: str, dtype: str, part: str, layers: tuple[str, ...]) -> int:
    """As `estimate_bytes`, of those weights of a base model's ``part`` whose names begin with ``layers``.

    Of a single file they may have its prefix before that; of a hub id the files that have them count.
    """
    path = local_path(source)
    itemsize = torch.empty(0, dtype=getattr(torch, dtype)).element_size()
    try:
        if path is None or (is_on_hub(source) and not _has_layers(path / part, layers)):
            return 0
        files = [path] if path.is_file() else _loaded_files(path / part)
        return sum(_count(file, layers) for file in files) * itemsize
    except (OSError, ValueError, AttributeError, SafetensorError):
        return 0


def indexed_files(index: Path, begins: tuple[str, ...]) -> list[str]:
    """Names of those of a part's files that have weights whose names begin so, by the part's index."""
    files: dict[str, str] = json.loads(index.read_bytes()).get("weight_map", {})
    return sorted({file for name, file in files.items() if name.startswith(begins)})


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _folder_files(path: Path, without: str | None, beside: tuple[str, ...] = ()) -> list[Path]:
    """The files that a folder is loaded from; of a base model's, not those of the parts ``beside``."""
    if not (path / "model_index.json").exists():
        return _loaded_files(path) if path.is_dir() else []
    index = json.loads((path / "model_index.json").read_bytes())
    if not isinstance(index, dict):
        raise ValueError("model_index.json is no JSON object")
    unneeded = ("safety_checker", *([without] if without else []))
    parts = [
        part
        for part, kind in index.items()
        if isinstance(kind, list) and kind[:1] != [None] and not part.startswith(unneeded)
    ]
    return [file for part in parts if part not in beside for file in _loaded_files(path / part)]


def _is_downloaded(folder: Path) -> bool:
    """Whether a folder of the hub's cache has all weights that are loaded: a download may go on, or have been
    cut off."""
    parts = [folder]
    if (folder / "model_index.json").exists():
        index = json.loads((folder / "model_index.json").read_bytes())
        facts = family_of_pipeline(str(index.get("_class_name")))
        parts = [] if facts is None else [folder / part for part in facts.parts_of(index)]
    return all(_has_all_files(_loaded_files(part)) for part in parts)


def _has_layers(part: Path, begins: tuple[str, ...]) -> bool:
    """Whether a part in the hub's cache has all files with weights whose names begin so."""
    if (index := part / INDEX).is_file():
        return all((part / file).is_file() for file in indexed_files(index, begins))
    return _has_all_files(_loaded_files(part))


def _has_all_files(files: list[Path]) -> bool:
    shards = [match for file in files if (match := _SHARD.search(file.stem))]
    return bool(files) and all(int(match[1]) == len(files) for match in shards)


def _loaded_files(part: Path) -> list[Path]:
    """Of a part that is stored in several ways side by side one: as diffusers, the plain one in one file.

    Variants (``.fp16.safetensors``) hold as many numbers, so one of them stands for the others.
    """
    files = sorted(file for stem in _STEMS for file in part.glob(f"{stem}*.safetensors"))
    by_variant: dict[str, list[Path]] = {}
    for file in files:
        by_variant.setdefault(_SHARD.sub("", file.stem), []).append(file)
    found = next((by_variant[name] for name in (*_STEMS, *by_variant) if name in by_variant), [])
    return [file for file in found if not _SHARD.search(file.stem)] or found


def _count(file: Path, begins: tuple[str, ...] = ("",), besides: tuple[str, ...] = ()) -> int:
    """How many numbers a safetensors file holds in tensors whose names begin so, and not as ``besides``."""
    with safe_open(file, framework="pt") as opened:
        names = [
            name
            for name in opened.keys()  # noqa: SIM118
            if name.removeprefix(FILE_PREFIX).startswith(begins) and not name.startswith(besides)
        ]
        return sum(math.prod(opened.get_slice(name).get_shape()) for name in names)


def source_files(source: str) -> list[Path]:
    """The files that decide what is loaded from a result of `find_source`; none if it is not here yet.

    Weights and configs, those of a hub id as they lie in the hub's cache.
    """
    path = local_path(source)
    if path is None:
        return []
    if path.is_file():
        return [path]
    patterns = (f"{folder}*.{suffix}" for folder in ("", "*/") for suffix in ("safetensors", "json"))
    return sorted(file for pattern in patterns for file in path.glob(pattern))
