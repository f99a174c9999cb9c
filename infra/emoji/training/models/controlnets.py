"""The two ControlNets: what each one's control picture is, and the pictures it learns from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from infra.emoji.training.data.canvas import flat
from infra.emoji.training.data.colour_maps import any_background, colour_map, recolour
from infra.emoji.training.data.edge_maps import edge_map
from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.data.subjects import COLOURS
from infra.emoji.training.stages.loop import Plan

PALETTE = tuple(COLOURS.values())
#: Share of the colour net's pictures whose colours are not those of the caption.
STRANGE_SHARE = 0.6


#: What a sprite and its background become, told the background colour of the caption.
Dress = Callable[[Floats, int, np.random.Generator], tuple[Floats, Floats]]


@dataclass(frozen=True, kw_only=True)
class ControlNet:
    """A kind of control picture and how the ControlNet that reads it is taught."""

    name: str
    seed: int
    plan: Plan
    dress: Dress
    #: The control picture, ``(64, 64, 3)``, of a picture of the same size.
    control: Callable[[Floats], Floats]

    @property
    def folder(self) -> str:
        """Where its weights are, beside the base model."""
        return f"controlnets/{self.name}"


def edges(picture: Floats) -> Floats:
    """White edges on black."""
    return edge_map(picture)[..., None].repeat(3, -1)


def as_told(sprite: Floats, colour: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Just what the caption says."""
    return sprite, flat(PALETTE[colour])


def in_other_colours(sprite: Floats, colour: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Subject and background in colours the caption does not tell."""
    return recolour(sprite, rng), any_background(rng)


def in_any_colour(sprite: Floats, colour: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Often in other colours than the caption's: the ControlNet must learn that the map decides."""
    dress = in_other_colours if rng.random() < STRANGE_SHARE else as_told
    return dress(sprite, colour, rng)


EDGE = ControlNet(
    name="edge",
    seed=2,
    plan=Plan(steps=600, batch=24, learning_rate=1e-3, warmup_steps=30, hold=0.4, average=0.99),
    dress=as_told,
    control=edges,
)
COLOUR = ControlNet(
    name="colour",
    seed=4,
    plan=Plan(steps=1100, batch=24, learning_rate=1e-3, warmup_steps=30, hold=0.4, average=0.99),
    dress=in_any_colour,
    control=colour_map,
)
