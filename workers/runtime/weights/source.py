"""Weights on disk: where their source is, its files, and what they will take once they are loaded."""

import math
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from shared.catalog.entries import HUB, locate


def find_source(catalog: Path, source: str) -> str:
    """What diffusers loads: a local path, or the hub id behind ``hub:``, with its revision if it has one."""
    return source.removeprefix(HUB) if source.startswith(HUB) else str(locate(catalog, source))


def split_revision(source: str) -> tuple[str, dict[str, str]]:
    """A result of `find_source` as diffusers takes it: the path or hub id, and ``revision`` if it has one."""
    hub_id, _, revision = source.partition("@")
    if Path(source).is_absolute() or not revision:
        return source, {}
    return hub_id, {"revision": revision}


def estimate_bytes(source: str, dtype: str, *, without: str | None = None) -> int:
    """Bytes of a source's weights once they are loaded as ``dtype``; 0 where that cannot be seen from here.

    ``without``: parts of a folder whose names begin so do not count. Of variants that lie side by side
    (``.fp16.safetensors``) the plain one counts, as in diffusers.
    """
    path = Path(source)
    pattern = "*/*.safetensors" if (path / "model_index.json").exists() else "*.safetensors"
    files = [path] if path.is_file() else sorted(path.glob(pattern)) if path.is_dir() else []
    unneeded = ("safety_checker", *([without] if without else []))
    needed = [file for file in files if not file.parent.name.startswith(unneeded)]
    plain = [file for file in needed if "." not in file.stem] or needed
    itemsize = torch.empty(0, dtype=getattr(torch, dtype)).element_size()
    try:
        return sum(_count(file) for file in plain) * itemsize
    except (OSError, SafetensorError):
        return 0  # the load will say what is wrong with it


def _count(file: Path) -> int:
    """How many numbers a safetensors file holds."""
    with safe_open(file, framework="pt") as opened:
        return sum(math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118


def source_files(source: str) -> list[Path]:
    """The files that decide what is loaded from a result of `find_source`; none if it is not here yet.

    Weights and configs, those of a hub id as they lie in the hub's cache.
    """
    path = Path(source)
    if not path.exists() and not path.is_absolute():
        hub_id, revision = split_revision(source)
        try:
            path = Path(snapshot_download(hub_id, revision=revision.get("revision"), local_files_only=True))
        except (OSError, ValueError):  # not downloaded, or no hub id
            return []
    if path.is_file():
        return [path]
    patterns = (f"{folder}*.{suffix}" for folder in ("", "*/") for suffix in ("safetensors", "json"))
    return sorted(file for pattern in patterns for file in path.glob(pattern))
