import math

import numpy as np
import pytest
from PIL import Image

from infra.cli.images.compare import measure


def test_an_image_equals_itself() -> None:
    image = Image.linear_gradient("L").convert("RGB")
    assert measure(image, image.copy()) == (0, 0.0, math.inf)


def test_one_channel_of_one_pixel_is_a_difference() -> None:
    one = Image.new("RGB", (4, 2), (10, 20, 30))
    other = one.copy()
    other.putpixel((3, 1), (10, 17, 30))
    distance = measure(one, other)
    assert (distance.largest, distance.share) == (3, 1 / 8)
    assert distance.psnr_db == pytest.approx(10 * math.log10(255**2 / (9 / 24)))


def test_the_distance_is_that_of_the_arrays() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    pixels[1, :8] = pixels[0, :8]
    distance = measure(*map(Image.fromarray, pixels))
    apart = np.abs(pixels[0].astype(float) - pixels[1])
    assert distance.largest == apart.max()
    assert distance.share == pytest.approx((apart.max(axis=2) > 0).mean())
    assert distance.psnr_db == pytest.approx(10 * math.log10(255**2 / (apart**2).mean()))
