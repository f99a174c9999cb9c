"""From latents to PNG files that carry their own request and receipt."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from shared.jobs.receipt import Receipt
from workers.families.base_model import BaseModel


@torch.inference_mode()
def decode_latents(
    model: BaseModel, latents: Tensor, check: Callable[[Tensor], None] = lambda pixels: None
) -> list[Image.Image]:
    """Decode ``(n, c, h/f, w/f)`` as the diffusers pipeline does; ``check`` is given the pixels as floats."""
    vae = model.pipe.vae
    pixels = vae.decode(_unscale(latents.to(vae.dtype), vae.config), return_dict=False)[0]
    check(pixels)
    images: list[Image.Image] = model.pipe.image_processor.postprocess(
        pixels, output_type="pil", do_denormalize=[True] * len(latents)
    )
    return images


def _unscale(latents: Tensor, config: Any) -> Tensor:
    """From the UNet's range to the VAE's; some of SDXL's relatives shift each channel as well."""
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return latents / float(config.scaling_factor)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in (mean, std))
    return latents * std / float(config.scaling_factor) + mean


def encode_png(image: Image.Image, receipt: Receipt, index: int) -> bytes:
    """The PNG of image ``index`` of a job, with request, receipt and index in its text chunks.

    The request is the receipt's spec, not the job's own: the replay of a receipt then gives the same file.
    """
    info = PngInfo()
    info.add_itxt("request", receipt.spec.model_dump_json())
    info.add_itxt("receipt", receipt.model_dump_json())
    info.add_itxt("picture", str(index))
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
