"""Finds the weights that a patch has left with a NaN or an infinity.

Reading every weight again would cost a fifth of the patch, so that factors say first which to look at: the
sum that makes a number of a weight is bounded by the largest number of each factor and by their sides.
"""

from collections.abc import Mapping, Sequence
from math import inf

import torch
from torch import Tensor

from workers.lora.formats.matrices import tensors_of
from workers.lora.weight_delta import WeightDelta

#: A part of the model and a parameter in it.
ParameterKey = tuple[str, str]
#: A change that adds less cannot take a weight out of float16 (65504), unless it was nearly out before.
_HARMLESS = 1000.0


def find_non_finite(
    weights: Mapping[ParameterKey, Tensor], terms: Mapping[ParameterKey, Sequence[tuple[WeightDelta, float]]]
) -> list[ParameterKey]:
    """Which of the ``weights`` are not finite any more after ``terms``; one wait for the device, or two."""
    if not terms:
        return []
    bounds = torch.stack([_bound(changes) for changes in terms.values()])
    if bounds.is_meta:
        return []  # a device without numbers
    doubtful = [place for place, bound in zip(terms, bounds.tolist(), strict=True) if not bound < _HARMLESS]
    if not doubtful:
        return []
    extremes = torch.stack([torch.stack(weights[place].aminmax()).float() for place in doubtful])
    finite = torch.isfinite(extremes).all(1).tolist()
    return [place for place, is_finite in zip(doubtful, finite, strict=True) if not is_finite]


def _bound(changes: Sequence[tuple[WeightDelta, float]]) -> Tensor:
    """What the changes add to a number of their weight at most; NaN and infinity stay what they are."""
    return torch.stack([_bound_one(change, scale) for change, scale in changes]).sum()


def _bound_one(change: WeightDelta, scale: float) -> Tensor:
    tensors = list(tensors_of(change.delta()))
    bound = torch.tensor(abs(scale * change.scaling) if change.magnitude is None else inf).to(
        tensors[0].device
    )
    for tensor in tensors:
        low, high = tensor.aminmax()
        bound = bound * torch.maximum(-low, high) * min(tensor.shape)
    return bound
