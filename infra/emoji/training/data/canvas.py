"""Putting a sprite on a background. Images are float arrays ``(h, w, 3)``, 0 to 1."""

import numpy as np
from PIL import Image

from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.data.subjects import Colour

#: What the model generates.
SIDE_PX = 64
#: Pixels a side of the VAE's latents stands for.
FACTOR = 4
#: An image with one latent to spare on every side, so that a crop of its latents is a shift.
WIDE_PX = SIDE_PX + 2 * FACTOR


def flat(colour: Colour, side_px: int = SIDE_PX) -> Floats:
    """A background of one colour."""
    return np.full((side_px, side_px, 3), np.asarray(colour) / 255, np.float32)


def paste(sprite: Floats, background: Floats, *, dx: int = 0, dy: int = 0, flip: bool = False) -> Floats:
    """``sprite`` over the middle of ``background``, moved by ``dx``, ``dy`` pixels; the rim is cut."""
    side, canvas = len(sprite), len(background)
    if flip:
        sprite = sprite[:, ::-1]
    left, top = (canvas - side) // 2 + dx, (canvas - side) // 2 + dy
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(canvas, left + side), min(canvas, top + side)
    part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    image = background.copy()
    image[y0:y1, x0:x1] = image[y0:y1, x0:x1] * (1 - part[..., 3:]) + part[..., :3]
    return image


def to_image(image: Floats) -> Image.Image:
    """``(h, w, 3)`` or ``(h, w)`` floats, 0 to 1, as an RGB image."""
    return Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8)).convert("RGB")
