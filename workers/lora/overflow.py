"""Finds the weights in which a patch has left a NaN or an infinity.

Reading every weight again would take a fifth of the patch's time. So a bound tells first which weights to
read: what a delta adds to a number of a weight is at most the product of its factors' largest numbers and
inner dimensions.
"""

from collections.abc import Mapping, Sequence
from math import inf

import torch
from torch import Tensor

from workers.lora.formats.matrices import tensors_of
from workers.lora.weight_delta import WeightDelta
from workers.runtime.finite import are_finite, min_max

#: A part of the model and a parameter in it.
ParameterKey = tuple[str, str]
#: A delta that adds less cannot take a weight out of float16 (65504), unless it nearly was before.
_HARMLESS = 1000.0


def find_overflows(
    weights: Mapping[ParameterKey, Tensor], terms: Mapping[ParameterKey, Sequence[tuple[WeightDelta, float]]]
) -> list[ParameterKey]:
    """Which ``weights`` are not finite after ``terms`` were added; waits for the device once or twice."""
    if not terms:
        return []
    bounds = torch.stack([_bound(deltas) for deltas in terms.values()])
    if bounds.is_meta:
        return []  # a device without numbers
    doubtful = [key for key, bound in zip(terms, bounds.tolist(), strict=True) if not bound < _HARMLESS]
    finite = are_finite([min_max(weights[key]) for key in doubtful])
    return [key for key, is_finite in zip(doubtful, finite, strict=True) if not is_finite]


def _bound(deltas: Sequence[tuple[WeightDelta, float]]) -> Tensor:
    """What the deltas add to a number of their weight at most; NaN and infinity stay what they are."""
    return torch.stack([_bound_one(delta, scale) for delta, scale in deltas]).sum()


def _bound_one(delta: WeightDelta, scale: float) -> Tensor:
    tensors = list(tensors_of(delta.matrix()))
    bound = torch.tensor(abs(scale * delta.scaling) if delta.magnitude is None else inf).to(tensors[0].device)
    for tensor in tensors:
        low, high = tensor.aminmax()
        bound = bound * torch.maximum(-low, high) * min(tensor.shape)
    return bound
