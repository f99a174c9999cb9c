"""Decodes latents to images."""

import hashlib

import torch
from PIL import Image
from torch import Tensor

from workers.devices.base import Device, Pending
from workers.families.base import BaseModel
from workers.unet.output.finite import NonFiniteTracker


@torch.inference_mode()
def decode_latents(
    model: BaseModel,
    latents: Tensor,
    size: tuple[int, int],
    device: Device,
    finite: NonFiniteTracker,
    *,
    first: Pending[None],
) -> list[Image.Image]:
    """Decode latents ``(n, …)`` to images of ``size``; raises what ``first`` and then ``finite`` find.

    Everything is submitted to the device before this thread waits for the first result.
    """
    latents_check = finite.check_latents(latents)
    pixels = model.latents.decode(latents, size)
    pixels_check = finite.check_pixels(pixels)
    copy = device.to_host(to_rgb(pixels))
    first.result()
    latents_check.result()
    pixels_check.result()
    return [Image.fromarray(image.numpy()) for image in copy.wait()]


def to_rgb(pixels: Tensor) -> Tensor:
    """Decoded pixels, ``(n, 3, h, w)`` in -1..1, as ``uint8``, ``(n, h, w, 3)``, on their device.

    The bits are those of diffusers' ``VaeImageProcessor.postprocess``, which rounds on the CPU: it rescales
    in the type of the VAE, and multiplies and rounds in float32, half to even.
    """
    unit = (pixels * 0.5 + 0.5).clamp(0, 1)
    return (unit.permute(0, 2, 3, 1).float() * 255).round().to(torch.uint8).contiguous()


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
