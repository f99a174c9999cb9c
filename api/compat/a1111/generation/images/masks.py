"""Inpainting as A1111 does it: the mask's blur, the part of the image around it, what lies under it at first.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/processing.py`` (``StableDiffusionProcessingImg2Img``)
and ``modules/masking.py``.
"""

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageFilter, ImageOps

from api.compat.a1111.generation.images.resizing import ResizeMode, Size, resize
from shared.errors import InvalidImage

Region = tuple[int, int, int, int]
#: Radii of the blurs that spread the surroundings of a mask into it, and how often each is put on top.
_SPREADS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
#: Of a mask's alpha channel, what is more is masked.
_OPAQUE = 128


class MaskOptions(NamedTuple):
    """What a request says about its mask."""

    blur: tuple[int, int]
    is_inverted: bool
    fills: bool  # what is masked begins with its surroundings' colours, not with its own
    is_cropped: bool  # the part of the image around the mask is generated in the whole size
    padding: int
    resize_mode: ResizeMode


@dataclass(frozen=True)
class MaskedImage:
    """What a job is given of an image and its mask, and how its images become those of the call."""

    image: Image.Image
    mask: Image.Image
    original: Image.Image  # in the size of the call's images
    kept: Image.Image  # its mask: white where the original stays
    region: Region | None  # of the original, if the job generates a part of it

    def crop(self, image: Image.Image, mode: ResizeMode) -> Image.Image:
        """The part of another image that belongs to what the job generates."""
        return image if self.region is None else resize(image, self.original.size, mode).crop(self.region)

    def restore(self, generated: Image.Image) -> Image.Image:
        """An image of the call: what was generated within the mask, and the original around it."""
        if self.region is None:
            return Image.composite(self.original, generated, self.kept)
        left, top, right, bottom = self.region
        part = resize(generated, (right - left, bottom - top), ResizeMode.CROP_AND_RESIZE)
        whole = self.original.copy()
        whole.paste(part, (left, top))
        return Image.composite(self.original, whole, self.kept)


def mask_of(image: Image.Image) -> Image.Image:
    """The mask in an RGBA image, in grey: its transparency if it has some, else its brightness."""
    alpha = image.getchannel("A")
    if alpha.getextrema() != (255, 255):
        return alpha.point(lambda value: 255 if value > _OPAQUE else 0)
    return image.convert("L")


def apply_mask(image: Image.Image, mask: Image.Image, size: Size, options: MaskOptions) -> MaskedImage:
    """What a job of this size is given of an RGB image and a mask in grey; raises `InvalidImage`."""
    if mask.size != image.size:
        detail = f"the mask has {mask.width} x {mask.height} pixels, its image {image.width} x"
        raise InvalidImage(f"{detail} {image.height}", field="mask")
    if options.is_inverted:
        mask = ImageOps.invert(mask)
    if max(options.blur) > 0:
        mask = mask.filter(ImageFilter.GaussianBlur(options.blur))
    if mask.getbbox() is None:
        raise InvalidImage("nothing of the mask is white: nothing would be generated", field="mask")
    region = None
    if options.is_cropped:
        region = _region(mask, size, options.padding)
        part = resize(image.crop(region), size, ResizeMode.RESIZE_AND_FILL)
        inner = resize(mask.crop(region), size, ResizeMode.RESIZE_AND_FILL)
        original, kept = image, ImageOps.invert(mask)
    else:
        part = original = resize(image, size, options.resize_mode)
        inner = resize(mask, size, options.resize_mode)
        kept = ImageOps.invert(inner.point(lambda value: min(255, 2 * value)))
    if options.fills:
        part = _fill(part, inner)
    return MaskedImage(part, inner, original, kept, region)


def _region(mask: Image.Image, size: Size, padding: int) -> Region:
    """The part of the image around the mask, in the aspect ratio of ``size`` as far as the image allows."""
    box = mask.getbbox()
    assert box is not None, "the mask is not empty"
    left, right = max(0, box[0] - padding), min(mask.width, box[2] + padding)
    top, bottom = max(0, box[1] - padding), min(mask.height, box[3] + padding)
    if (right - left) * size[1] < (bottom - top) * size[0]:
        left, right = _widen(left, right, (bottom - top) * size[0] // size[1], mask.width)
    else:
        top, bottom = _widen(top, bottom, (right - left) * size[1] // size[0], mask.height)
    return left, top, right, bottom


def _widen(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """A span of this length around another, moved and cut so that it lies within ``limit``."""
    length = min(max(length, end - start), limit)
    start = min(max(0, start - (length - (end - start)) // 2), limit - length)
    return start, start + length


def _fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image, and within the mask the colours around it, the more blurred the farther they are."""
    outside = Image.merge("RGBA", [*image.split(), ImageOps.invert(mask)]).convert("RGBa")
    found = Image.new("RGBA", image.size)
    for radius, times in _SPREADS:
        blurred = outside.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            found.alpha_composite(blurred)
    return found.convert("RGB")
