"""Edge maps, the control image of the edge ControlNet, and the line drawings made of them."""

import numpy as np
from PIL import Image, ImageFilter

from infra.emoji.training.data.emoji_sets import Floats


def edge_map(image: Floats, threshold: float = 0.10) -> Floats:
    """White edges on black: ``(h, w, 3)`` to ``(h, w)`` of 0 and 1.

    Sobel gradients, the strongest channel of each pixel, thinned to one pixel by dropping whatever
    is weaker than a neighbour across the edge (Canny 1986, without the hysteresis).
    """
    gx, gy = _strongest_gradient(image)
    strength = np.sqrt(gx**2 + gy**2)
    around = np.pad(strength, 1)
    is_upright = np.abs(gx) >= np.abs(gy)
    before = np.where(is_upright, around[1:-1, :-2], around[:-2, 1:-1])
    after = np.where(is_upright, around[1:-1, 2:], around[2:, 1:-1])
    is_edge = (strength > threshold) & (strength >= before) & (strength >= after)
    return np.asarray(is_edge, np.float32)


def line_drawing(image: Floats, background: Floats) -> Floats:
    """``image`` as ink strokes on its ``background``; light ink where the background is dark."""
    strokes = Image.fromarray((edge_map(image, 0.07) * 255).astype(np.uint8))
    soft = np.asarray(strokes.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255
    ink_share = np.clip(soft * 1.9, 0, 1)[..., None]
    is_light = background.mean() > 0.35
    ink = np.asarray((0.05, 0.05, 0.08) if is_light else (0.96, 0.96, 0.92), np.float32)
    return np.asarray(background * (1 - ink_share) + ink * ink_share, np.float32)


def _strongest_gradient(image: Floats) -> tuple[Floats, Floats]:
    p = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    left = p[:-2, :-2] + 2 * p[1:-1, :-2] + p[2:, :-2]
    right = p[:-2, 2:] + 2 * p[1:-1, 2:] + p[2:, 2:]
    above = p[:-2, :-2] + 2 * p[:-2, 1:-1] + p[:-2, 2:]
    below = p[2:, :-2] + 2 * p[2:, 1:-1] + p[2:, 2:]
    gx, gy = (np.asarray(slope / 4, np.float32) for slope in (right - left, below - above))
    channel = (gx**2 + gy**2).argmax(-1)[..., None]
    return np.take_along_axis(gx, channel, -1)[..., 0], np.take_along_axis(gy, channel, -1)[..., 0]
