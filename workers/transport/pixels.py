"""Images of 8 bits as they are sent: as bytes, of which the same floats are made at the other end.

diffusers divides pixels by 255 in float32. A GPU that is told to divide by a number multiplies by its
reciprocal instead, which rounds differently: so the quotients are looked up.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from workers.devices.base import Device
from workers.transport.wire import flat_bytes, is_channels_last, shaped


def pack_pixels(image: Tensor) -> Tensor:
    """An image in 0..1 as ``uint8``, of the same shape, if it has 8 bits; any other tensor as it is."""
    if image.dtype != torch.float32:
        return image
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8)
    is_same = torch.equal(_divided(pixels, quotients()).view(torch.int32), image.view(torch.int32))
    return pixels if is_same else image


def unpack_pixels(packed: Tensor, device: Device) -> Tensor:
    """The tensor that `pack_pixels` was given, from what it returned; ``packed`` is on the device."""
    if packed.dtype != torch.uint8:
        return packed
    return _divided(packed, device.from_host(quotients()))


@cache
def quotients() -> Tensor:
    """``k / 255`` for each ``k``, ``(256,)``, as diffusers divides (``VaeImageProcessor.pil_to_numpy``)."""
    return torch.from_numpy(np.arange(256).astype(np.float32) / 255.0)


def _divided(pixels: Tensor, table: Tensor) -> Tensor:
    """In the memory format of ``pixels``."""
    flat = table.index_select(0, flat_bytes(pixels).int())
    return shaped(flat, list(pixels.shape), channels_last=is_channels_last(pixels))
