"""A LoRA in a device's memory, ready to be written."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf

import torch
from torch import Tensor

from workers.devices.base import Device, Event, HostCopy
from workers.lora.arena import Arena
from workers.lora.lora_weights import LoraWeights
from workers.lora.weight_delta import ParameterKey, WeightDelta
from workers.lora.writers.low_rank import PRODUCT_DTYPES, LowRankTerm


@dataclass(eq=False)
class DeviceLora:
    """Copies of one LoRA's tensors. Whoever uses them on another stream calls `follow` there first."""

    weights: LoraWeights
    arena: Arena
    arrived: Event
    factors: Mapping[ParameterKey, tuple[Tensor, Tensor]]  # a (r, columns), b (out, r) of plain LoRAs
    peaks: HostCopy | None  # the largest magnitudes of a and b, (2 * len(factors),); None: no numbers

    def follow(self, device: Device) -> None:
        """Have the current stream use the tensors after they have arrived, and before they are gone."""
        device.follow(self.arrived)
        for piece in self.arena.pieces:
            device.record_stream(piece)

    def wait(self) -> None:
        """Block this thread until the LoRA has arrived."""
        self.arrived.wait()
        if self.peaks is not None:
            self.peaks.wait()

    def low_rank(self, key: ParameterKey, scale: float) -> LowRankTerm | None:
        """What is added to a weight, if that is a plain product; waits for the LoRA if it is on its way."""
        if key not in self.factors:
            return None
        peak_a, peak_b = self._peaks_by_key[key]
        factor = scale * self.weights.delta(key).scaling
        return LowRankTerm(*self.factors[key], peak_a, peak_b, factor)

    @cached_property
    def _peaks_by_key(self) -> dict[ParameterKey, tuple[float, float]]:
        if self.peaks is None:
            return dict.fromkeys(self.factors, (0.0, 0.0))
        numbers = self.peaks.wait().tolist()
        return dict(zip(self.factors, zip(numbers[0::2], numbers[1::2], strict=True), strict=True))


def move_lora(lora: LoraWeights, device: Device) -> DeviceLora:
    """Copy a LoRA to a device, on the current stream; this thread waits only if its memory is not pinned."""
    host = lora.arena or lora.pack(device.pinned).arena
    assert host is not None
    arena = host.copy_to(device.torch_device)
    moved = lora.move_to(arena)
    factors = {key: _factors(delta) for key, delta in moved.items() if _is_plain(delta)}
    flat = [factor for pair in factors.values() for factor in pair]
    has_numbers = flat and not flat[0].is_meta
    peaks = torch.stack([peak.float() for peak in torch._foreach_norm(flat, inf)]) if has_numbers else None
    copied = None if peaks is None else device.to_host(peaks)
    return DeviceLora(moved, arena, device.record(), factors, copied)


def _is_plain(delta: WeightDelta) -> bool:
    factors = delta.tensors
    return (
        factors.keys() == {"a", "b"}
        and delta.magnitude is None
        and all(factor.dtype in PRODUCT_DTYPES for factor in factors.values())
    )


def _factors(delta: WeightDelta) -> tuple[Tensor, Tensor]:
    """As matrices: those of a convolution have its kernel, or ones."""
    a, b = delta.tensors["a"], delta.tensors["b"]
    return a.reshape(len(a), -1), b.reshape(len(b), -1)
