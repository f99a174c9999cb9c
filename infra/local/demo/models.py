"""What the demo generates, by model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.emoji_files import LORA
from shared.settings import Settings


@dataclass(frozen=True)
class Example:
    """A job of the demo; ``settings`` name the catalog of its model."""

    settings: Settings
    request: Mapping[str, Any]  # without the ControlNet
    controlnet: str
    lora: Path


def _emoji(settings: Settings) -> Example:
    """The embedded model, of whatever catalog the settings name."""
    request = {
        "prompt": "a red car on a green background",
        "seed": 7,
        "width": 64,
        "height": 64,
        "loras": [{"name": LORA.stem, "scale": 0.6}],
        "latent_parallelism": "off",  # the second worker computes the ControlNet instead
    }
    return Example(settings, request, "edge", LORA)


def _tiny_flux(settings: Settings) -> Example:
    """A Flux of 28 M parameters with random weights: the image shows nothing, the timeline everything."""
    from infra.tiny_models.demo_flux import (
        FILES,
        write_demo_flux,
    )  # torch, which the default demo need not load

    folder = settings.home.resolve() / "tiny-flux"
    if not (folder / FILES.catalog).exists():
        write_demo_flux(folder)
    lora = folder / FILES.lora
    request = {
        "prompt": "a red car on a green background",
        "seed": 7,
        "width": 128,
        "height": 128,
        "num_inference_steps": 8,
        "max_sequence_length": 64,
        "loras": [{"name": lora.stem, "scale": 0.6}],
        "latent_parallelism": "off",
    }
    own = settings.model_copy(update={"catalog": folder / FILES.catalog})
    return Example(own, request, FILES.controlnet, lora)


#: By what ``MODEL`` names.
MODELS: Mapping[str, Callable[[Settings], Example]] = {"emoji-sd": _emoji, "tiny-flux": _tiny_flux}
