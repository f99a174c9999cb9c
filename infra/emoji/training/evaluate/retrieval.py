"""Does it generate what the prompt asks for? The nearest of all training images must be the right one."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from infra.emoji.training.data.canvas import flat, paste
from infra.emoji.training.data.emoji_sets import NOTO, Floats, sprites
from infra.emoji.training.data.latents import decode, encode
from infra.emoji.training.data.subjects import COLOUR_NAMES, COLOURS, NAMES, TEMPLATES, caption
from infra.emoji.training.evaluate.image_generator import ImageGenerator
from infra.emoji.training.evaluate.scores import psnr_db, thumbnail

IMAGES, RECONSTRUCTIONS = 100, 40
SHIFTS_PX = (-4, 0, 4)
RIM_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Shares of all images, 0 to 1."""

    images: int
    right_subject: float
    right_subject_if_labels_are_shuffled: float
    right_background: float
    vae_psnr_db: float


def measure(generator: ImageGenerator, data: Path, scale: float) -> Retrieval:
    """Generate subjects in turn, on random backgrounds and in random templates."""
    rng = np.random.default_rng(11)
    count = max(2, round(IMAGES * scale))
    subjects = np.concatenate([rng.permutation(len(NAMES)) for _ in range(2)])[:count]
    colours = rng.integers(len(COLOURS), size=count)
    templates = rng.integers(len(TEMPLATES), size=count)
    prompts = [
        caption(NAMES[subject], COLOUR_NAMES[colour], template)
        for subject, colour, template in zip(subjects, colours, templates, strict=True)
    ]
    images = generator.generate(prompts, seed=1000)
    emoji = sprites(NOTO, data)

    @lru_cache
    def known(colour: int) -> Floats:
        return _thumbnails(emoji, colour)

    nearest = np.asarray(
        [_nearest(image, known(colour)) for image, colour in zip(images, colours, strict=True)]
    )
    backgrounds = np.asarray([background(image) for image in images])
    originals = [
        paste(emoji[subject], flat(COLOURS[COLOUR_NAMES[colour]]))
        for subject, colour in zip(subjects[:RECONSTRUCTIONS], colours[:RECONSTRUCTIONS], strict=True)
    ]
    copies = decode(generator.pipe.vae, encode(generator.pipe.vae, originals))
    return Retrieval(
        images=count,
        right_subject=float((nearest == subjects).mean()),
        right_subject_if_labels_are_shuffled=float((nearest == rng.permutation(subjects)).mean()),
        right_background=float((backgrounds == colours).mean()),
        vae_psnr_db=float(np.mean([psnr_db(*pair) for pair in zip(copies, originals, strict=True)])),
    )


def _thumbnails(emoji: Floats, colour: int) -> Floats:
    """Every subject on a background, in nine places: ``(72, 9, 32, 32, 3)``."""
    background = flat(COLOURS[COLOUR_NAMES[colour]])
    return np.stack(
        [
            [thumbnail(paste(sprite, background, dx=dx, dy=dy)) for dx in SHIFTS_PX for dy in SHIFTS_PX]
            for sprite in emoji
        ]
    )


def _nearest(image: Floats, known: Floats) -> int:
    distances = ((known - thumbnail(image)) ** 2).mean((2, 3, 4))  # (72, 9)
    return int(distances.min(1).argmin())


def background(image: Floats) -> int:
    """The index of the palette's colour that is nearest to the image's rim."""
    rim = np.concatenate([image[:RIM_ROWS], image[-RIM_ROWS:]]).reshape(-1, 3)
    palette = np.asarray(list(COLOURS.values())) / 255
    return int(((palette - np.median(rim, 0)) ** 2).sum(1).argmin())
