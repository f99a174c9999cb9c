"""Images of 8 bits travel as bytes, and come out with the bits of diffusers' own division."""

import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from tests.workers.transport.transport_ends import noise
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.transport.pixels import pack_pixels, unpack_pixels
from workers.transport.wire import pack, unpack


def every_pixel() -> Tensor:
    """Every value of 8 bits, as diffusers gives an image to a ControlNet, ``(1, 3, 16, 16)``."""
    values = [(k, 255 - k, (7 * k) % 256) for k in range(256)]
    image = Image.frombytes("RGB", (16, 16), bytes(byte for pixel in values for byte in pixel))
    processor = VaeImageProcessor(do_convert_rgb=True, do_normalize=False)
    pixels: Tensor = processor.preprocess(image)
    return pixels


def received(image: Tensor, device: Device) -> Tensor:
    """The image as it comes out at the other end."""
    _, packed = unpack(pack({}, pack_pixels(image)))
    assert packed is not None
    return unpack_pixels(device.from_host(packed), device)


def test_each_of_256_values_has_the_bits_of_diffusers_division() -> None:
    image = every_pixel()
    assert image.dtype == torch.float32
    assert pack_pixels(image).dtype == torch.uint8
    assert len(pack_pixels(image).unique()) == 256
    back = received(image, find_device("cpu"))
    assert torch.equal(back.view(torch.int32), image.view(torch.int32))
    assert back.stride() == image.stride()


def test_each_of_256_values_has_the_same_bits_on_a_gpu(cuda: Device) -> None:
    image = every_pixel()
    back = received(image, cuda)
    assert torch.equal(back.cpu().view(torch.int32), image.view(torch.int32))
    assert back.stride() == image.stride()


def test_an_image_keeps_its_memory_format() -> None:
    for image in (every_pixel().contiguous(), every_pixel().to(memory_format=torch.channels_last)):
        assert received(image, find_device("cpu")).stride() == image.stride()


@pytest.mark.parametrize(
    "image",
    [
        noise(1, 4, 8, 8),
        torch.full((1, 3, 4, 4), 0.5),
        torch.full((1, 3, 4, 4), -1.0),
        torch.full((1, 3, 4, 4), -0.0),
        torch.full((1, 3, 4, 4), float("nan")),
        torch.nextafter(torch.tensor(17 / 255), torch.tensor(1.0)).expand(1, 3, 4, 4).contiguous(),
        noise(1, 4, 8, 8, dtype=torch.float16),
    ],
    ids=["latents", "a half", "minus one", "minus zero", "not a number", "one bit off", "float16"],
)
def test_what_is_no_image_of_8_bits_is_sent_as_it_is(image: Tensor) -> None:
    assert pack_pixels(image) is image
    back = received(image, find_device("cpu"))
    assert torch.equal(back.view(torch.uint8), image.view(torch.uint8))
