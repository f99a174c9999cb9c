"""Colour maps, the control image of the colour ControlNet, and images in colours no caption names."""

import numpy as np

from infra.emoji.training.data.canvas import SIDE_PX, flat
from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.data.subjects import COLOURS

CELLS = 8
CELL_PX = SIDE_PX // CELLS


def cells(image: Floats) -> Floats:
    """The mean colour of each of 8 by 8 squares: ``(64, 64, 3)`` to ``(8, 8, 3)``."""
    return np.asarray(image.reshape(CELLS, CELL_PX, CELLS, CELL_PX, 3).mean((1, 3)))


def colour_map(image: Floats) -> Floats:
    """``image`` in 8 by 8 flat squares, ``(64, 64, 3)``: where which colour is, and nothing more."""
    return cells(image).repeat(CELL_PX, 0).repeat(CELL_PX, 1)


def recolour(sprite: Floats, rng: np.random.Generator) -> Floats:
    """A premultiplied ``sprite`` with its hues turned: the three channels in another order."""
    order = [*rng.permutation(3), 3]
    return sprite[..., order]


def any_background(rng: np.random.Generator) -> Floats:
    """One of the twelve colours, any colour at all, or two of them side by side or stacked."""
    kind = rng.random()
    if kind < 0.4:
        return _named(rng)
    if kind < 0.65:
        red, green, blue = (int(part) for part in rng.integers(0, 256, 3))
        return flat((red, green, blue))
    background, other = _named(rng), _named(rng)
    middle = SIDE_PX // 2
    if kind < 0.85:
        background[middle:] = other[middle:]
    else:
        background[:, middle:] = other[:, middle:]
    return background


def _named(rng: np.random.Generator) -> Floats:
    palette = list(COLOURS.values())
    return flat(palette[rng.integers(len(palette))])
