"""The prompts and control images that are shown."""

from dataclasses import dataclass

import numpy as np

from infra.emoji.training.data.canvas import SIDE_PX, flat, paste
from infra.emoji.training.data.emoji_sets import SMALL_SPRITE_PX, SPRITE_PX, Floats
from infra.emoji.training.data.subjects import COLOURS

SAMPLES = (
    "a cat on a yellow background",
    "pizza on a blue background",
    "a face with heart eyes on a white background",
    "an emoji of a red car on green",
    "a green apple on a pink background",
    "a penguin on a teal background",
    "a rocket on a black background",
    "a skull on a purple background",
    "a house on an orange background",
    "an octopus on a gray background",
    "a hamburger on a red background",
    "a unicorn on a brown background",
    "a star on a blue background",
    "a robot on a pink background",
    "white background, strawberry",
    "an image of a soccer ball on a green background",
)
STYLED = (
    "a cat on a yellow background",
    "a brain on a blue background",
    "a cow on a white background",
    "a soccer ball on a teal background",
    "a skull on a pink background",
    "an angry face on a gray background",
)


@dataclass(frozen=True)
class Steered:
    """A prompt, and the image whose edges or colours steer it."""

    prompt: str
    subject: str
    size_px: int = SPRITE_PX
    dx: int = 0
    dy: int = 0
    flip: bool = False
    backgrounds: tuple[str, str] = ("white", "white")  # above and below the middle
    channels: tuple[int, int, int] = (0, 1, 2)  # of the sprite; another order turns its hues

    def image(self, sprite: Floats) -> Floats:
        """The steering image, of the ``sprite`` of ``subject`` in ``size_px``."""
        above, below = self.backgrounds
        background = flat(COLOURS[above])
        background[SIDE_PX // 2 :] = np.asarray(COLOURS[below]) / 255
        return paste(sprite[..., [*self.channels, 3]], background, dx=self.dx, dy=self.dy, flip=self.flip)


EDGES = (
    Steered("a cat on a yellow background", "cat", SMALL_SPRITE_PX, -8, -6),
    Steered("an emoji of a red car on white", "red car", SMALL_SPRITE_PX, 6, 7, flip=True),
    Steered("a penguin on a teal background", "penguin", SMALL_SPRITE_PX, 8, -7, flip=True),
    Steered("a pizza on a blue background", "star"),
    Steered("a strawberry on a white background", "red heart", SMALL_SPRITE_PX, -7, 6),
    Steered("a rocket on a black background", "rocket", SMALL_SPRITE_PX, 7, 7, flip=True),
    Steered("a duck on a pink background", "duck", SMALL_SPRITE_PX, -8, 7, flip=True),
    Steered("a gift box on a green background", "house", SPRITE_PX, 3, 3),
)
COLOUR_MAPS = (
    Steered("a cat on a yellow background", "cat", channels=(2, 1, 0), backgrounds=("pink", "pink")),
    Steered(
        "an emoji of a red car on white",
        "red car",
        channels=(1, 0, 2),
        backgrounds=("blue", "gray"),
    ),
    Steered("a fish on a white background", "fish", SMALL_SPRITE_PX, 7, -6, backgrounds=("teal", "blue")),
    Steered(
        "a strawberry on a green background",
        "strawberry",
        channels=(2, 1, 0),
        backgrounds=("yellow", "orange"),
    ),
)
