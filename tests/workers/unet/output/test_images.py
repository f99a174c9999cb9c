import io
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from shared.jobs.legacy_receipt import LegacyReceipt
from shared.jobs.receipt import Receipt
from tests.samples.old_versions import old_receipt
from workers.unet.output.images import encode_png, to_rgb


def test_a_png_carries_request_receipt_and_index() -> None:
    receipt = LegacyReceipt.model_validate(old_receipt(2)).upgraded()
    with Image.open(io.BytesIO(encode_png(Image.new("RGB", (8, 8)), receipt, 2))) as image:
        image.load()
        assert image.info["index"] == "2"
        assert Receipt.model_validate_json(image.info["receipt"]) == receipt
        assert image.info["request"] == receipt.spec.model_dump_json()


def many_pixels(dtype: torch.dtype) -> Tensor:
    """``(1, 3, 256, n)``: all numbers of a half type, or some beside rounding limits and random ones."""
    if dtype is torch.float32:
        limits = (torch.arange(0, 256, 0.5, dtype=torch.float64) / 255 * 2 - 1).float()
        near = [limits.nextafter(torch.tensor(side)) for side in (-9.0, 9.0)]
        noise = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0))
        values = torch.cat([limits, *near, noise, torch.tensor([0.0, -0.0, 1e30, -1e30])])
    else:
        values = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype)
        values = values[values.isfinite()]
    return values.repeat(3)[: len(values) // 256 * 3 * 256].reshape(1, 3, 256, -1)


def equals_diffusers(pixels: Tensor) -> bool:
    [theirs] = VaeImageProcessor().postprocess(pixels, output_type="pil", do_denormalize=[True])
    return np.array_equal(to_rgb(pixels)[0].cpu().numpy(), np.asarray(theirs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pixels_are_rounded_as_diffusers_rounds_them(dtype: torch.dtype) -> None:
    assert equals_diffusers(many_pixels(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_gpu_rounds_pixels_as_diffusers_does(dtype: torch.dtype, cuda: Any) -> None:
    assert equals_diffusers(many_pixels(dtype).to(cuda.torch_device))
