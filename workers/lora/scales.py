"""Which scale a LoRA has at each parameter of a model: diffusers' own rules for parts and blocks."""

from collections.abc import Callable, Mapping
from typing import Any

from diffusers.loaders.unet_loader_utils import _maybe_expand_lora_scales
from torch import nn

from shared.errors import InvalidRequest
from shared.jobs.lora_scales import PartScales, Scale, UNetScale

#: The scale at a parameter of a part of the model.
ScaleAt = Callable[[str, str], float]


def scale_at(scale: Scale, parts: Mapping[str, nn.Module]) -> ScaleAt:
    """Resolve ``scale`` for a model; raises `InvalidRequest` for parts and blocks that it does not have."""
    if not isinstance(scale, PartScales):
        number = float(scale)
        return lambda part, name: number
    given = scale.model_dump(exclude_none=True)
    unknown = given.keys() - parts.keys()
    if unknown:
        raise _refusal(f"the model has no {', '.join(sorted(unknown))}; its parts are {', '.join(parts)}")
    layers = _layers(scale.unet, parts["unet"]) if isinstance(scale.unet, UNetScale) else None

    def at(part: str, name: str) -> float:
        if part == "unet" and layers is not None:
            return _by_layer(layers, name)
        return float(given.get(part, 1.0))

    return at


def _layers(scale: UNetScale, unet: Any) -> dict[str, float]:
    """diffusers' expansion: a scale for each stack of transformers, by its module's name."""
    for side in ("down", "up"):
        blocks = getattr(unet, f"{side}_blocks")
        known = [f"block_{i}" for i, block in enumerate(blocks) if hasattr(block, "attentions")]
        chosen = getattr(scale, side)
        unknown = sorted(set(chosen) - set(known)) if isinstance(chosen, dict) else []
        if unknown:
            raise _refusal(f"{side} has no {', '.join(unknown)} with attention, only {', '.join(known)}")
    try:
        (layers,) = _maybe_expand_lora_scales(unet, [scale.model_dump()])
    except ValueError as error:
        raise _refusal(str(error)) from None
    return dict(layers)


def _by_layer(layers: Mapping[str, float], name: str) -> float:
    """As diffusers' ``set_weights_and_activate_adapters``: other layers of a block go with its transformers.

    What belongs to no block, on which diffusers fails, counts as 1.
    """
    for layer, scale in layers.items():
        if layer in name:
            return scale
    steps = name.split(".")
    return layers.get(f"{steps[0]}.{steps[1]}.attentions.{steps[3]}", 1.0) if len(steps) > 3 else 1.0


def _refusal(why: str) -> InvalidRequest:
    return InvalidRequest(f"scale of a LoRA: {why}", field="loras")
