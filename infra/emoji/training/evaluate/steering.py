"""Do the ControlNets steer? The same seeds with and without them, against the control images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.emoji.training.data.canvas import paste
from infra.emoji.training.data.edge_maps import edge_map
from infra.emoji.training.data.emoji_sets import NOTO, SMALL_SPRITE_PX, SPRITE_PX, Floats, sprites
from infra.emoji.training.data.latents import decode, encode
from infra.emoji.training.data.subjects import COLOUR_NAMES, COLOURS, NAMES, caption
from infra.emoji.training.evaluate.image_generator import ImageGenerator
from infra.emoji.training.evaluate.scores import colour_error, edge_f1
from infra.emoji.training.models import controlnets
from infra.emoji.training.models.controlnets import ControlNet
from infra.emoji.training.models.folder import load_controlnet

IMAGES = 32
REACH_PX = 7


@dataclass(frozen=True, kw_only=True)
class Steering:
    """A score without the ControlNet, with it, and of the VAE's copy of the target: the best there is."""

    images: int
    without: float
    with_controlnet: float
    vae_copy: float


def measure_edge(generator: ImageGenerator, out: Path, data: Path, scale: float) -> Steering:
    """F1 of the edges, placements wider than the base model ever saw."""
    targets = _targets(controlnets.as_captioned, data, scale)
    return _measure(generator, out, controlnets.EDGE, targets, lambda a, b: edge_f1(a, edge_map(b)))


def measure_colour(generator: ImageGenerator, out: Path, data: Path, scale: float) -> dict[str, Steering]:
    """Error of the 8 by 8 mean colours: where the map agrees with the caption, and where it does not."""
    compositions = {"as_told": controlnets.as_captioned, "in_other_colours": controlnets.in_other_colours}
    return {
        name: _measure(generator, out, controlnets.COLOUR, _targets(compose, data, scale), colour_error)
        for name, compose in compositions.items()
    }


@dataclass(frozen=True)
class _Targets:
    prompts: list[str]
    images: list[Floats]


def _targets(compose: controlnets.Composition, data: Path, scale: float) -> _Targets:
    rng = np.random.default_rng(5)
    count = max(2, round(IMAGES * scale))
    subjects, colours = rng.integers(len(NAMES), size=count), rng.integers(len(COLOURS), size=count)
    large, small = (sprites(NOTO, data, size_px) for size_px in (SPRITE_PX, SMALL_SPRITE_PX))
    images = []
    for subject, colour in zip(subjects, colours, strict=True):
        sprite = (large if rng.random() < 0.5 else small)[subject]
        sprite, background = compose(sprite, int(colour), rng)
        dx, dy = (int(shift) for shift in rng.integers(-REACH_PX, REACH_PX + 1, 2))
        images.append(paste(sprite, background, dx=dx, dy=dy, flip=rng.random() < 0.5))
    prompts = [
        caption(NAMES[subject], COLOUR_NAMES[colour])
        for subject, colour in zip(subjects, colours, strict=True)
    ]
    return _Targets(prompts, images)


def _measure(
    generator: ImageGenerator,
    out: Path,
    recipe: ControlNet,
    targets: _Targets,
    score: Callable[[Floats, Floats], float],
) -> Steering:
    controlnet = load_controlnet(out / recipe.folder)
    controls = [recipe.control(image) for image in targets.images]
    vae = generator.pipe.vae

    def mean_score(images: Floats) -> float:
        return float(np.mean([score(*pair) for pair in zip(images, targets.images, strict=True)]))

    return Steering(
        images=len(targets.images),
        without=mean_score(generator.generate(targets.prompts, seed=300)),
        with_controlnet=mean_score(
            generator.generate_with_controlnet(targets.prompts, 300, controlnet, controls)
        ),
        vae_copy=mean_score(decode(vae, encode(vae, targets.images))),
    )
