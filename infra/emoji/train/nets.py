"""The two ControlNets: what each one's control picture is, and the pictures it learns from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from infra.emoji.train.canvas import flat, paste
from infra.emoji.train.colours import any_background, colour_map, recolour
from infra.emoji.train.data import SMALL_SPRITE_PX, Floats
from infra.emoji.train.edges import edge_map
from infra.emoji.train.loop import Plan
from infra.emoji.train.subjects import COLOURS

PALETTE = tuple(COLOURS.values())
#: Share of the colour net's pictures whose colours are not those of the caption.
STRANGE_SHARE = 0.6


#: A picture, ``(64, 64, 3)``, of a sprite whose caption tells the given background colour.
Compose = Callable[[Floats, int, np.random.Generator], Floats]


@dataclass(frozen=True, kw_only=True)
class Net:
    """A kind of control picture and how the net that reads it is taught."""

    name: str
    seed: int
    plan: Plan
    compose: Compose
    #: The control picture, ``(64, 64, 3)``, of such a picture.
    control: Callable[[Floats], Floats]

    @property
    def folder(self) -> str:
        """Where its weights are, beside the base model."""
        return f"controlnet-{self.name}"


def edges(picture: Floats) -> Floats:
    """White edges on black."""
    return edge_map(picture)[..., None].repeat(3, -1)


def as_told(sprite: Floats, colour: int, rng: np.random.Generator) -> Floats:
    """On the caption's background, moved further than the base model has ever seen."""
    return _anywhere(sprite, flat(PALETTE[colour]), rng)


def in_other_colours(sprite: Floats, colour: int, rng: np.random.Generator) -> Floats:
    """Subject and background in colours the caption does not tell."""
    return _anywhere(recolour(sprite, rng), any_background(rng), rng)


def in_any_colour(sprite: Floats, colour: int, rng: np.random.Generator) -> Floats:
    """Often in other colours than the caption's: the net must learn that the map decides."""
    compose = in_other_colours if rng.random() < STRANGE_SHARE else as_told
    return compose(sprite, colour, rng)


def _anywhere(sprite: Floats, background: Floats, rng: np.random.Generator) -> Floats:
    reach_px = 8 if len(sprite) == SMALL_SPRITE_PX else 5
    dx, dy = (int(shift) for shift in rng.integers(-reach_px, reach_px + 1, 2))
    return paste(sprite, background, dx=dx, dy=dy, flip=rng.random() < 0.4)


EDGE = Net(
    name="edge",
    seed=2,
    plan=Plan(steps=600, batch=24, learning_rate=1e-3, warmup_steps=30, hold=0.4, average=0.99),
    compose=as_told,
    control=edges,
)
COLOUR = Net(
    name="colour",
    seed=4,
    plan=Plan(steps=1100, batch=24, learning_rate=1e-3, warmup_steps=30, hold=0.4, average=0.99),
    compose=in_any_colour,
    control=colour_map,
)
