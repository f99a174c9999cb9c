"""Codecs: a job may ask for less precision of its residuals, so that fewer bytes are sent.

``exact`` is the tensor's own bytes. ``float16`` rounds, and saturates at float16's largest number.
``int8`` is symmetric per row and channel: the largest magnitude becomes 127.
"""

import torch
from torch import Tensor

from shared.jobs.options import Precision
from workers.transport.wire import size_bytes

_HALF_MAX = torch.finfo(torch.float16).max
_LEVELS = 127


def encode(tensor: Tensor, precision: Precision) -> Tensor:
    """The payload of a residual ``(b, c, ...)``, on the same device: the residual itself, or fewer bytes."""
    if precision == "exact" or (precision == "float16" and tensor.dtype.itemsize <= 2):
        return tensor
    if precision == "float16":
        return tensor.clamp(-_HALF_MAX, _HALF_MAX).to(torch.float16)
    rows = _rows(tensor).float()
    scales = rows.abs().amax(1, keepdim=True) / _LEVELS  # (b * c, 1)
    steps = torch.where(scales > 0, rows / scales, 0).round().clamp(-_LEVELS, _LEVELS)
    return torch.cat([scales.flatten().view(torch.uint8), steps.to(torch.int8).flatten().view(torch.uint8)])


def decode(coded: Tensor, dtype: torch.dtype, shape: list[int], precision: Precision) -> Tensor:
    """The residual of this dtype and shape from its payload: ``coded`` is ``uint8``, ``(n,)``."""
    if precision == "exact" or (precision == "float16" and dtype.itemsize <= 2):
        return coded.view(dtype).view(shape)
    if precision == "float16":
        return coded.view(torch.float16).view(shape).to(dtype)
    rows = _row_count(shape)
    scales = coded[: 4 * rows].view(torch.float32).unsqueeze(1)
    steps = coded[4 * rows :].view(torch.int8).view(rows, -1)
    return (steps.float() * scales).to(dtype).view(shape)


def as_sent(tensor: Tensor, precision: Precision) -> Tensor:
    """The residual as it would be received: sent and received, it has the same bits."""
    return decode(encode(tensor, precision).flatten(), tensor.dtype, list(tensor.shape), precision)


def coded_bytes(dtype: torch.dtype, shape: list[int], precision: Precision) -> int:
    """The size of the payload of such a residual."""
    if precision == "int8":
        return size_bytes(torch.int8, shape) + 4 * _row_count(shape)
    smaller = precision == "float16" and dtype.itemsize > 2
    return size_bytes(torch.float16 if smaller else dtype, shape)


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(_row_count(list(tensor.shape)), -1)


def _row_count(shape: list[int]) -> int:
    """Batch rows times channels: each has a scale of its own."""
    return shape[0] * shape[1]
