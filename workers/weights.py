"""Weights on disk and in memory: where a source lies, what it hashes to, how much room it takes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from shared.catalogue import HUB, locate


def find_source(catalogue: Path, source: str) -> str:
    """What diffusers loads: a local path, or the hub id behind ``hub:``."""
    return source.removeprefix(HUB) if source.startswith(HUB) else str(locate(catalogue, source))


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
