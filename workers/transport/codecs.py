"""Codecs: a job may ask for less precision of its residuals, so that fewer bytes are sent.

``exact`` is the tensor's own bytes. ``float16`` rounds, and saturates at float16's largest number.
``int8`` is symmetric per row and channel of a UNet's residual, ``(b, c, h, w)``, per row and token of a
transformer's, ``(b, tokens, d)``: the largest magnitude becomes 127. Numbers lie in a payload as they lie in
the residual's memory, so that the residual arrives in the same memory format.
"""

import torch
from torch import Tensor

from shared.jobs.options import Precision
from workers.transport.wire import flat_bytes, is_channels_last, shaped, size_bytes

_HALF_MAX = torch.finfo(torch.float16).max
_LEVELS = 127


def encode(tensor: Tensor, precision: Precision) -> Tensor:
    """The payload of a residual ``(b, c or tokens, ...)``: ``uint8``, ``(n,)``, on the same device.

    It may share the residual's memory.
    """
    if precision == "exact" or (precision == "float16" and tensor.dtype.itemsize <= 2):
        return flat_bytes(tensor)
    if precision == "float16":
        return flat_bytes(tensor.clamp(-_HALF_MAX, _HALF_MAX).to(torch.float16))
    numbers = tensor.float()
    largest = numbers.reshape(*tensor.shape[:2], -1).abs().amax(2)  # (b, c or tokens)
    # By a tensor: dividing by a number, a GPU multiplies by its reciprocal, which rounds otherwise.
    scales = largest / torch.full_like(largest, _LEVELS)
    spread = _spread(scales, tensor.dim())
    steps = torch.where(spread > 0, numbers / spread, 0).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
    if is_channels_last(tensor):
        steps = steps.contiguous(memory_format=torch.channels_last)
    return torch.cat([flat_bytes(scales), flat_bytes(steps)])


def decode(
    coded: Tensor, dtype: torch.dtype, shape: list[int], precision: Precision, *, channels_last: bool = False
) -> Tensor:
    """The residual of this dtype, shape and memory format from its payload, ``uint8``, ``(n,)``."""
    if precision == "exact" or (precision == "float16" and dtype.itemsize <= 2):
        return shaped(coded.view(dtype), shape, channels_last=channels_last)
    if precision == "float16":
        return shaped(coded.view(torch.float16), shape, channels_last=channels_last).to(dtype)
    rows = _row_count(shape)
    scales = coded[: 4 * rows].view(torch.float32).view(shape[:2])
    steps = shaped(coded[4 * rows :].view(torch.int8), shape, channels_last=channels_last)
    return (steps.float() * _spread(scales, len(shape))).to(dtype)


def as_sent(tensor: Tensor, precision: Precision) -> Tensor:
    """The residual as it would be received: sent and received, it has the same bits."""
    coded, shape = encode(tensor, precision), list(tensor.shape)
    return decode(coded, tensor.dtype, shape, precision, channels_last=is_channels_last(tensor))


def coded_bytes(dtype: torch.dtype, shape: list[int], precision: Precision) -> int:
    """The size of the payload of such a residual."""
    if precision == "int8":
        return size_bytes(torch.int8, shape) + 4 * _row_count(shape)
    smaller = precision == "float16" and dtype.itemsize > 2
    return size_bytes(torch.float16 if smaller else dtype, shape)


def _spread(scales: Tensor, dimensions: int) -> Tensor:
    """``(b, c)`` as ``(b, c, 1, ...)``."""
    return scales.view(*scales.shape, *[1] * (dimensions - 2))


def _row_count(shape: list[int]) -> int:
    """Batch rows times channels: each has a scale of its own."""
    return shape[0] * shape[1]
