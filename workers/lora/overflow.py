"""Finds the weights in which a patch has left a NaN or an infinity.

Reading every weight again would take a fifth of the patch's time. So a bound tells first which weights to
read: what a delta adds to a number of a weight is at most the product of its factors' largest numbers and
inner dimensions.
"""

from collections.abc import Mapping, Sequence
from math import inf, isfinite

import torch
from torch import Tensor

from workers.devices.base import Device, HostCopy
from workers.lora.formats.matrices import tensors_of
from workers.lora.weight_delta import ParameterKey, Terms, WeightDelta

#: A delta that adds less cannot take a weight out of float16 (65504), unless it nearly was before.
HARMLESS = 1000.0


class OverflowCheck:
    """Which of some weights are not finite: known once the device has read them."""

    def __init__(self, keys: Sequence[ParameterKey] = (), peaks: HostCopy | None = None) -> None:
        """``peaks``: the largest magnitude in each weight, ``(len(keys),)``, NaN if there is one."""
        self._keys, self._peaks = keys, peaks

    @property
    def is_known(self) -> bool:
        """Whether `overflows` does not wait."""
        return self._peaks is None or self._peaks.is_done

    def overflows(self) -> list[ParameterKey]:
        """The weights that hold a NaN or an infinity; waits until the device has read them."""
        if self._peaks is None:
            return []
        peaks = self._peaks.wait().tolist()
        return [key for key, peak in zip(self._keys, peaks, strict=True) if not isfinite(peak)]


def check_finite(device: Device, weights: Mapping[ParameterKey, Tensor]) -> OverflowCheck:
    """Have the device read ``weights``; this thread does not wait."""
    if not weights or next(iter(weights.values())).is_meta:  # a device without numbers
        return OverflowCheck()
    peaks = torch.stack([peak.float() for peak in torch._foreach_norm(list(weights.values()), inf)])
    return OverflowCheck(list(weights), device.to_host(peaks))


def may_overflow(terms: Mapping[ParameterKey, Terms]) -> list[ParameterKey]:
    """Of which weights ``terms`` may leave some that are not finite; waits for the device once."""
    if not terms:
        return []
    bounds = torch.stack([_bound(deltas) for deltas in terms.values()])
    if bounds.is_meta:
        return []
    return [key for key, bound in zip(terms, bounds.tolist(), strict=True) if not bound < HARMLESS]


def _bound(deltas: Terms) -> Tensor:
    """What the deltas add to a number of their weight at most; NaN and infinity stay what they are."""
    return torch.stack([_bound_one(delta, scale) for delta, scale in deltas]).sum()


def _bound_one(delta: WeightDelta, scale: float) -> Tensor:
    tensors = list(tensors_of(delta.matrix()))
    bound = torch.tensor(abs(scale * delta.scaling) if delta.magnitude is None else inf).to(tensors[0].device)
    for tensor in tensors:
        low, high = tensor.aminmax()
        bound = bound * torch.maximum(-low, high) * min(tensor.shape)
    return bound
