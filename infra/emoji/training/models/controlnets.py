"""The two ControlNets: what each one's control image is, and the images it learns from."""

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
#: Share of the colour ControlNet's images whose colours are not those of the caption.
OTHER_COLOURS_SHARE = 0.6


#: What a sprite and its background become, given the background colour of the caption.
Composition = Callable[[Floats, int, np.random.Generator], tuple[Floats, Floats]]


@dataclass(frozen=True, kw_only=True)
class ControlNet:
    """A kind of control image and how the ControlNet that reads it is trained."""

    name: str
    seed: int
    plan: Plan
    compose: Composition
    #: The control image, ``(64, 64, 3)``, of an image of the same size.
    control: Callable[[Floats], Floats]

    @property
    def folder(self) -> str:
        """Where its weights are, beside the base model."""
        return f"controlnets/{self.name}"


def edges(image: Floats) -> Floats:
    """White edges on black."""
    return edge_map(image)[..., None].repeat(3, -1)


def as_captioned(sprite: Floats, colour: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Just what the caption says."""
    return sprite, flat(PALETTE[colour])


def in_other_colours(sprite: Floats, colour: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Subject and background in colours the caption does not show."""
    return recolour(sprite, rng), any_background(rng)


def in_any_colour(sprite: Floats, colour: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Often in other colours than the caption's: the ControlNet must learn that the map decides."""
    compose = in_other_colours if rng.random() < OTHER_COLOURS_SHARE else as_captioned
    return compose(sprite, colour, rng)


EDGE = ControlNet(
    name="edge",
    seed=2,
    plan=Plan(steps=600, batch=24, learning_rate=1e-3, warmup_steps=30, hold=0.4, average=0.99),
    compose=as_captioned,
    control=edges,
)
COLOUR = ControlNet(
    name="colour",
    seed=4,
    plan=Plan(steps=1100, batch=24, learning_rate=1e-3, warmup_steps=30, hold=0.4, average=0.99),
    compose=in_any_colour,
    control=colour_map,
)
