"""Resizing to another aspect ratio, without a large image on the way."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from api.compat.a1111.generation.images.masks import MaskedImage
from api.compat.a1111.generation.images.resizing import ResizeMode, Size, resize, resize_control_map

#: What the process may take besides what it has.
SPARE_BYTES = 1 << 30


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Whatever takes gigabytes raises `MemoryError`."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + SPARE_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def smooth(size: Size) -> Image.Image:
    """Colours that change slowly: no filter overshoots."""
    noise = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(4))


@pytest.mark.parametrize("own", [(1, 4096), (4096, 1), (1, 65_536)])
@pytest.mark.parametrize("mode", list(ResizeMode))
def test_a_line_of_pixels_is_resized_in_little_memory(
    own: Size, mode: ResizeMode, little_memory: None
) -> None:
    image = Image.new("RGB", own, "teal")
    for found in (resize(image, (1024, 1024), mode), resize_control_map(image, (1024, 1024), mode)):
        assert found.size == (1024, 1024)
        assert found.getpixel((512, 512)) == (0, 128, 128)


def test_a_line_within_a_mask_is_restored_in_little_memory(little_memory: None) -> None:
    original, mask = Image.new("RGB", (64, 65_536)), Image.new("L", (64, 65_536))
    masked = MaskedImage(original, mask, original, mask, region=(8, 0, 9, 65_536))
    assert masked.restore(Image.new("RGB", (1024, 1024), "teal")).getpixel((8, 4096)) == (0, 128, 128)
    assert masked.crop(Image.new("RGB", (4096, 1)), ResizeMode.CROP_AND_RESIZE).size == (1, 65_536)


@pytest.mark.parametrize("own", [(60, 100), (100, 60), (33, 101), (97, 31)])
@pytest.mark.parametrize("size", [(64, 64), (24, 40), (128, 96), (200, 24)])
def test_what_is_cropped_is_the_middle_of_the_whole_image_resized(own: Size, size: Size) -> None:
    image = smooth(own)
    scale = max(size[0] / own[0], size[1] / own[1])
    width, height = max(size[0], int(own[0] * scale)), max(size[1], int(own[1] * scale))
    whole = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - size[0] + 1) // 2, (height - size[1] + 1) // 2
    expected = np.asarray(whole.crop((left, top, left + size[0], top + size[1])), np.int16)
    found = np.asarray(resize(image, size, ResizeMode.CROP_AND_RESIZE), np.int16)
    assert np.abs(found - expected).max() <= 2
