"""Whether tensors hold only finite numbers: minimum and maximum keep a NaN, and cost a tenth of a hash."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def is_finite(tensor: Tensor) -> bool:
    """Whether every number of a tensor is finite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def min_max(tensor: Tensor) -> Tensor:
    """The smallest and the largest number, ``(2,)`` in float32, left on the tensor's device."""
    return torch.stack(tensor.aminmax()).float()


def are_finite(min_max: Sequence[Tensor]) -> list[bool]:
    """Of which tensors all numbers are finite, by their `min_max`; waits for the device once."""
    return torch.isfinite(torch.stack(list(min_max))).all(1).tolist() if min_max else []


def find_non_finite(modules: Mapping[str, nn.Module]) -> str | None:
    """The name of the first weight that holds a NaN or an infinity, with its part in front."""
    for part, module in modules.items():
        for name, tensor in module.state_dict().items():
            if not is_finite(tensor):
                return f"{part}.{name}"
    return None
