"""Decodes latents and encodes PNG files, which carry their own request and receipt."""

import hashlib
import io
from collections.abc import Callable

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from shared.jobs.receipt import Receipt
from workers.families.base import BaseModel


@torch.inference_mode()
def decode_latents(
    model: BaseModel,
    latents: Tensor,
    size: tuple[int, int],
    check: Callable[[Tensor], None] = lambda pixels: None,
) -> list[Image.Image]:
    """Decode latents ``(n, …)`` to images of ``size``; ``check`` is given the pixels as floats."""
    pixels = model.latents.decode(latents, size)
    check(pixels)
    return model.to_images(pixels)


def encode_png(image: Image.Image, receipt: Receipt, index: int) -> bytes:
    """The PNG of image ``index`` of a job, with request, receipt and index in its text chunks.

    The request is the receipt's spec, not the job's own: the replay of a receipt then gives the same file.
    """
    info = PngInfo()
    info.add_itxt("request", receipt.spec.model_dump_json())
    info.add_itxt("receipt", receipt.model_dump_json())
    info.add_itxt("index", str(index))
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
