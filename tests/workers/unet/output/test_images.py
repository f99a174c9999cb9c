from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from shared.errors import NonFiniteWeights
from tests.fake_device import FakeDevice
from tests.workers.unet.specs import spec
from workers.devices.base import Pending
from workers.unet.output.finite import NonFiniteTracker
from workers.unet.output.images import decode_latents, to_rgb


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


class LoggingLatents:
    """The VAE of a model; notes when it is submitted."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        self._log.append("vae submitted")
        return torch.zeros(len(latents), 3, size[1], size[0])


def test_everything_is_submitted_before_the_first_check_and_loras_are_blamed_first() -> None:
    # Given a device that has not come to the end of the last step, whose latents are spoiled
    device = FakeDevice()
    model: Any = SimpleNamespace(name="model", latents=LoggingLatents(device.log), lora_parts={})
    finite = NonFiniteTracker(model, spec(), device)

    def check_loras() -> None:
        device.log.append("loras checked")
        raise NonFiniteWeights("with LoRA 'large'")

    # When they are decoded
    latents = torch.full((1, 4, 8, 8), torch.nan)
    with pytest.raises(NonFiniteWeights, match="LoRA 'large'"):
        decode_latents(model, latents, (16, 16), device, finite, first=Pending(check_loras, is_ready=False))
    # Then the VAE was submitted first, and nothing was waited for before the LoRAs were checked
    waits = [entry for entry in device.log if entry.startswith(("vae", "loras", "wait"))]
    assert waits == ["vae submitted", "loras checked"]
