"""How far two images are from each other."""

import math
from typing import NamedTuple

from PIL import Image, ImageChops

#: The largest value of a channel.
WHITE = 255


class Distance(NamedTuple):
    """``largest`` difference of a channel, 0..255; ``share`` of pixels that differ; PSNR in decibels."""

    largest: int
    share: float
    psnr_db: float


def measure(one: Image.Image, other: Image.Image) -> Distance:
    """The distance of two images of the same size, as RGB."""
    assert one.size == other.size
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    red, green, blue = difference.split()
    by_pixel = ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()
    pixels = one.width * one.height
    by_channel = difference.histogram()  # red's 256 counts, green's, blue's
    squares = sum(count * (i % (WHITE + 1)) ** 2 for i, count in enumerate(by_channel))
    mean = squares / (3 * pixels)
    return Distance(
        largest=max(value for value, count in enumerate(by_pixel) if count),
        share=1 - by_pixel[0] / pixels,
        psnr_db=10 * math.log10(WHITE**2 / mean) if mean else math.inf,
    )
