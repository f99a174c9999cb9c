"""A1111's ways to resize an image to a size of another aspect ratio.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/images.py`` (``resize_image``), and
Mikubill/sd-webui-controlnet, ``scripts/controlnet.py`` (``detectmap_proc``).
"""

import math
from enum import IntEnum

from PIL import Image, ImageStat

Size = tuple[int, int]
_LANCZOS = Image.Resampling.LANCZOS
#: How far its kernel reaches, in pixels of the smaller one of both images.
_RADIUS_PX = 3


class ResizeMode(IntEnum):
    """By A1111's numbers."""

    JUST_RESIZE = 0
    CROP_AND_RESIZE = 1
    RESIZE_AND_FILL = 2


def resize(image: Image.Image, size: Size, mode: ResizeMode) -> Image.Image:
    """An image of this size; what `RESIZE_AND_FILL` adds repeats the image's edges."""
    if mode is ResizeMode.JUST_RESIZE or _has_ratio(image, size):
        return image.resize(size, _LANCZOS)
    if mode is ResizeMode.CROP_AND_RESIZE:
        return _covering(image, size)
    inner = image.resize(_scaled_size(image, size, covers=False), _LANCZOS)
    left, top = (size[0] - inner.width) // 2, (size[1] - inner.height) // 2
    found = Image.new(image.mode, size)
    _repeat_edges(found, inner, left, top)
    found.paste(inner, (left, top))
    return found


def resize_control_map(image: Image.Image, size: Size, mode: ResizeMode) -> Image.Image:
    """The same of a control map in RGB; what is added has the colour of its edges, as an edge is a line."""
    if mode is not ResizeMode.RESIZE_AND_FILL or _has_ratio(image, size):
        return resize(image, size, mode)
    inner = image.resize(_scaled_size(image, size, covers=False), _LANCZOS)
    found = Image.new(image.mode, size, tuple(_edge_colour(image)))
    found.paste(inner, ((size[0] - inner.width) // 2, (size[1] - inner.height) // 2))
    return found


def _has_ratio(image: Image.Image, size: Size) -> bool:
    return image.width * size[1] == image.height * size[0]


def _covering(image: Image.Image, size: Size) -> Image.Image:
    """The middle of what covers the size; what lies around it is cut off before the image is resized.

    The other way round a line of pixels would be enlarged to gigabytes.
    """
    inner = _scaled_size(image, size, covers=True)
    left, right, x0, x1 = _middle(image.width, inner[0], size[0])
    top, bottom, y0, y1 = _middle(image.height, inner[1], size[1])
    return image.crop((left, top, right, bottom)).resize(size, _LANCZOS, box=(x0, y0, x1, y1))


def _middle(length: int, scaled: int, wanted: int) -> tuple[int, int, float, float]:
    """The part of a side that decides the ``wanted`` pixels in the middle of its ``scaled`` ones.

    First where it begins and ends, then where those pixels do so in it.
    """
    begin = (scaled - wanted + 1) // 2
    start, end = begin * length / scaled, (begin + wanted) * length / scaled
    radius = math.ceil(_RADIUS_PX * max(1.0, length / scaled)) + 1
    first, last = max(0, int(start) - radius), min(length, math.ceil(end) + radius)
    return first, last, start - first, min(end - first, last - first)


def _scaled_size(image: Image.Image, size: Size, *, covers: bool) -> Size:
    """The size of the image's own aspect ratio that covers another one, or lies within it."""
    is_by_width = (size[0] * image.height > size[1] * image.width) is covers
    if is_by_width:
        return size[0], max(1, image.height * size[0] // image.width)
    return max(1, image.width * size[1] // image.height), size[1]


def _repeat_edges(image: Image.Image, inner: Image.Image, left: int, top: int) -> None:
    """Fill both sides of where ``inner`` will be with its outermost lines of pixels."""
    right, bottom = image.width - left - inner.width, image.height - top - inner.height
    width, height = inner.size
    for box, area, place in (
        ((0, 0, 1, height), (left, height), (0, top)),
        ((width - 1, 0, width, height), (right, height), (left + width, top)),
        ((0, 0, width, 1), (width, top), (left, 0)),
        ((0, height - 1, width, height), (width, bottom), (left, top + height)),
    ):
        if min(area) > 0:
            image.paste(inner.crop(box).resize(area, Image.Resampling.NEAREST), place)


def _edge_colour(image: Image.Image) -> list[int]:
    """The median of the outermost pixels, of each channel."""
    width, height = image.size
    edge = Image.new(image.mode, (2 * width + 2 * height, 1))
    lines = (
        (image.crop((0, 0, width, 1)), 0),
        (image.crop((0, height - 1, width, height)), width),
        (image.crop((0, 0, 1, height)).transpose(Image.Transpose.ROTATE_90), 2 * width),
        (image.crop((width - 1, 0, width, height)).transpose(Image.Transpose.ROTATE_90), 2 * width + height),
    )
    for line, at in lines:
        edge.paste(line, (at, 0))
    return [int(value) for value in ImageStat.Stat(edge).median]
