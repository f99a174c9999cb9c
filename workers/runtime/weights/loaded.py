"""Weights in memory: their size and their hash."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of all parameters and buffers."""
    return sum(
        tensor.numel() * tensor.element_size()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    )


def weights_sha256(modules: Mapping[str, nn.Module]) -> str:
    """Hash of all weights by name, as loaded: the same for every way of storing them.

    Reads every weight: call it while they are in the host's memory, or through `HashCache`.
    """
    return weights_sha256s([modules])[0]


def weights_sha256s(groups: Sequence[Mapping[str, nn.Module]]) -> list[str]:
    """`weights_sha256` of each group.

    A module that is in several is read once, if the longest group has it and their order of modules is one.
    What several groups begin with is hashed once.
    """
    left: list[list[tuple[str, nn.Module]]] = [sorted(group.items()) for group in groups]
    begun: list[tuple[Any, ...]] = [() for _ in groups]  # of each group what was hashed already
    digests = {(): hashlib.sha256()}
    while any(left):
        longest = max(left, key=len).copy()
        for _, module in longest:
            updated = []
            for i, items in enumerate(left):
                if not items or items[0][1] is not module:
                    continue
                part, before = items.pop(0)[0], begun[i]
                begun[i] = (*before, (part, id(module)))
                if begun[i] not in digests:
                    digests[begun[i]] = digests[before].copy()
                    updated.append((part, digests[begun[i]]))
            _update(updated, module)
    return [digests[key].hexdigest() for key in begun]


def _update(digests: Sequence[tuple[str, Any]], module: nn.Module) -> None:
    """Hash a module by the name of its part in each group."""
    for name, tensor in sorted(module.state_dict().items()):
        flat = memoryview(tensor.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy())
        for part, digest in digests:
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(flat)


def first_parameter(model: nn.Module) -> nn.Parameter:
    """A parameter of a model that is on one device and has one type of numbers.

    diffusers' `ModelMixin.device` and `dtype` look through all modules: 5 ms each for SDXL's UNet.
    """
    return next(model.parameters())
