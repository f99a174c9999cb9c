"""Weights on disk and in memory: where their source is, their size, their hash."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

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


def estimate_bytes(source: str, dtype: str) -> int:
    """Bytes of a source's weights once they are loaded as ``dtype``; 0 where that cannot be seen from here.

    Of variants that lie side by side (``.fp16.safetensors``) the plain one counts, as in diffusers.
    """
    path = Path(source)
    pattern = "*/*.safetensors" if (path / "model_index.json").exists() else "*.safetensors"
    files = [path] if path.is_file() else sorted(path.glob(pattern)) if path.is_dir() else []
    needed = [file for file in files if file.parent.name != "safety_checker"]
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


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of all parameters and buffers."""
    return sum(
        tensor.numel() * tensor.element_size()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    )


def weights_sha256(modules: dict[str, nn.Module]) -> str:
    """Hash of all weights by name, as loaded: the same for every way of storing them."""
    digest = hashlib.sha256()
    for part, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().to("cpu").contiguous().flatten()
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
