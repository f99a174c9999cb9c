"""What can be known of a model or a ControlNet without loading it: the configs in its folder, in plain JSON.

Of single files and hub ids nothing is known before they are loaded: questions about them answer ``None``.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from shared.catalog.entries import HUB, Catalog, Family, locate

#: Pipelines that people save models as, without the word Pipeline, and whether they have SDXL's parts.
PIPELINES = {
    "StableDiffusion": False,
    "StableDiffusionImg2Img": False,
    "StableDiffusionInpaint": False,
    "StableDiffusionControlNet": False,
    "LatentConsistencyModel": False,
    "StableDiffusionXL": True,
    "StableDiffusionXLImg2Img": True,
    "StableDiffusionXLInpaint": True,
    "StableDiffusionXLControlNet": True,
}
#: Classes that ControlNets are saved as.
CONTROLNETS = ("ControlNetModel", "ControlNetUnionModel")


class ModelSignature(NamedTuple):
    """What a ControlNet must share with its base model, so that one's residuals fit into the other."""

    is_sdxl: bool  # sizes and pooled text join the time embedding
    width: int  # of cross-attention: that of the text encoders
    channels: tuple[int, ...]  # of the blocks

    def __str__(self) -> str:
        family = "SDXL" if self.is_sdxl else "Stable Diffusion 1 or 2"
        return f"{family}, cross-attention width {self.width}, channels {'/'.join(map(str, self.channels))}"


class ControlNetTraits(NamedTuple):
    """What a job must know of a ControlNet before it asks for it."""

    shape: ModelSignature
    global_pooling: bool  # gives one value for each channel, and only to the conditional rows
    control_types: int  # of a union of ControlNets; 0: an ordinary ControlNet


def read_signature(config: dict[str, Any]) -> ModelSignature:
    """The shape that the config of a UNet or a ControlNet describes."""
    channels = config.get("block_out_channels", (320, 640, 1280, 1280))
    return ModelSignature(
        config.get("addition_embed_type") == "text_time",
        config.get("cross_attention_dim", 1280),
        tuple(channels) if isinstance(channels, list | tuple) else (),
    )


def family_of(shape: ModelSignature) -> Family:
    """The kind of base model that has this shape; a toy of any width counts as Stable Diffusion 1."""
    if shape.is_sdxl:
        return "sdxl"
    return "sd2" if shape.width == 1024 else "sd1"


def is_inpainting(config: Mapping[str, Any]) -> bool:
    """Whether a UNet takes a mask and a masked image beside the latents, of which it predicts the noise."""
    taken, given = config.get("in_channels", 4), config.get("out_channels", 4)
    return isinstance(given, int) and bool(taken == 2 * given + 1)


def read_controlnet_traits(config: dict[str, Any]) -> ControlNetTraits:
    """What the config of a ControlNet says."""
    is_union = config.get("_class_name") == "ControlNetUnionModel"
    return ControlNetTraits(
        read_signature(config),
        bool(config.get("global_pool_conditions")),
        config.get("num_control_type", 6) if is_union else 0,
    )


def incompatibility(
    controlnet: str, controlnet_shape: ModelSignature, model: str, model_shape: ModelSignature
) -> str | None:
    """Why the ControlNet cannot guide the model, naming both; ``None`` if it can."""
    if controlnet_shape == model_shape:
        return None
    return f"ControlNet {controlnet!r} ({controlnet_shape}) does not fit its model {model!r} ({model_shape})"


class Families:
    """Answers for the names of one catalog."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self._path = path
        self._catalog = catalog

    def model(self, name: str) -> ModelSignature | None:
        """The shape of a base model."""
        config = self._of_unet(name)
        return None if config is None else read_signature(config)

    def is_inpainting(self, model: str) -> bool | None:
        """Whether the model's UNet was trained to inpaint: it takes a mask and a masked image as well."""
        config = self._of_unet(model)
        return None if config is None else is_inpainting(config)

    def scheduler_config(self, model: str) -> dict[str, Any] | None:
        """The scheduler config that a base model comes with."""
        return self._of_model(model, "scheduler/scheduler_config.json")

    def own_size(self, model: str) -> tuple[int, int] | None:
        """Width and height in pixels of a model's images unless a job asks for others, as in diffusers."""
        unet, vae = self._of_unet(model), self._of_model(model, "vae/config.json")
        size = None if unet is None else unet.get("sample_size")
        blocks = None if vae is None else vae.get("block_out_channels")
        sizes = [size, size] if isinstance(size, int) else size
        if not isinstance(blocks, list) or not isinstance(sizes, list) or len(sizes) != 2:
            return None
        if not all(isinstance(side, int) for side in sizes):
            return None
        height, width = sizes
        factor = 2 ** (len(blocks) - 1)
        return width * factor, height * factor

    def controlnet(self, name: str) -> ControlNetTraits | None:
        """What there is to know of a net."""
        config = self._read(self._catalog.controlnets[name].source, "config.json")
        return None if config is None else read_controlnet_traits(config)

    def incompatibility(self, controlnet: str, model: str) -> str | None:
        """Why a ControlNet cannot guide a base model, as far as that is known."""
        traits, shape = self.controlnet(controlnet), self.model(model)
        return (
            None
            if traits is None or shape is None
            else incompatibility(controlnet, traits.shape, model, shape)
        )

    def family(self, model: str) -> Family | None:
        """The family of a base model."""
        shape = self.model(model)
        return None if shape is None else family_of(shape)

    def of_family(self, family: Family, controlnet: str) -> list[str]:
        """The base models that are known to be of a family, but for those that ``controlnet`` cannot
        guide."""
        return [
            model
            for model in self._catalog.models
            if self.family(model) == family and self.incompatibility(controlnet, model) is None
        ]

    def _of_unet(self, model: str) -> dict[str, Any] | None:
        return self._of_model(model, "unet/config.json")

    def _of_model(self, model: str, name: str) -> dict[str, Any] | None:
        entry = self._catalog.models[model]
        return self._read(entry.config or entry.source, name)

    def _read(self, source: str, name: str) -> dict[str, Any] | None:
        return None if source.startswith(HUB) else _read(locate(self._path, source) / name)


@cache
def _read(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None  # who loads it says what is wrong
    return config if isinstance(config, dict) else None
