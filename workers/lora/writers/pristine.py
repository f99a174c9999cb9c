"""Copies of the weights that LoRAs have touched, as they were loaded: in a device's memory or the host's."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from workers.devices.base import Device
from workers.lora.arena import Arena
from workers.lora.weight_delta import ParameterKey

#: Where pristine copies are kept; ``auto`` asks how much of the device's memory is free.
PristinePlace = Literal["auto", "device", "host"]
#: ``auto``: with all pristine copies of a part on the device, this share of its memory stays free.
#: Activations and a VAE's decoding take it: a quarter is 6 GB of 24.
MIN_FREE_SHARE = 0.25


class PristineWeights:
    """See the module. Each weight is copied once, before its first write, and kept."""

    def __init__(self, device: Device, parameters: Mapping[ParameterKey, nn.Parameter]) -> None:
        self.place: PristinePlace = "auto"
        self._device, self._parameters = device, parameters
        self._copies: dict[ParameterKey, Tensor] = {}
        self._is_on_device: dict[str, bool] = {}  # by part

    @property
    def nbytes(self) -> int:
        """Memory of all copies."""
        return self._count(list(self._copies))

    @property
    def device_bytes(self) -> int:
        """Memory of the copies on the device."""
        return self._count(key for key in list(self._copies) if self._is_on_device[key[0]])

    def add(self, keys: Iterable[ParameterKey]) -> None:
        """Copy the weights that have no copy yet, on the current stream; one thread at a time."""
        missing = [key for key in keys if key not in self._copies]
        for part in dict.fromkeys(part for part, _ in missing):
            weights = {key: self._parameters[key].detach() for key in missing if key[0] == part}
            arena = Arena.allocate(weights.values(), self._allocate(part))
            torch._foreach_copy_(arena.tensors, list(weights.values()), non_blocking=True)
            self._copies |= dict(zip(weights, arena.tensors, strict=True))

    def restore(self, keys: Collection[ParameterKey]) -> None:
        """Copy back those of the weights that have a copy, on the current stream: no other was ever written.

        From the host, too, straight into the weights: whoever computes with them waits for the last of them.
        """
        copied = [key for key in keys if key in self._copies]
        if copied:
            weights = [self._parameters[key].detach() for key in copied]
            torch._foreach_copy_(weights, [self._copies[key] for key in copied], non_blocking=True)

    def _allocate(self, part: str) -> Callable[[int], Tensor]:
        if part not in self._is_on_device:
            self._is_on_device[part] = self._fits(part)
        if not self._is_on_device[part]:
            return self._device.pinned
        return lambda size: torch.empty(size, dtype=torch.uint8, device=self._device.torch_device)

    def _fits(self, part: str) -> bool:
        if self.place != "auto":
            return self.place == "device"
        memory = self._device.memory()
        if memory is None:
            return True
        part_bytes = sum(parameter.nbytes for key, parameter in self._parameters.items() if key[0] == part)
        return memory.free_bytes - part_bytes >= MIN_FREE_SHARE * memory.total_bytes

    def _count(self, keys: Iterable[ParameterKey]) -> int:
        return sum(self._copies[key].nbytes for key in keys)
