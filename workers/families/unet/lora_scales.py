"""Scales of a LoRA by UNet block: diffusers' own rules."""

from collections.abc import Mapping
from typing import Any

from diffusers.loaders.unet_loader_utils import _maybe_expand_lora_scales
from torch import nn

from shared.jobs.lora_scales import PartScales, UNetScale
from workers.lora.scales import ScaleOfParameter, scale_error


def unet_layer_scales(scale: PartScales, parts: Mapping[str, nn.Module]) -> dict[str, ScaleOfParameter]:
    """For the part ``unet`` the scale at each parameter; nothing where the scale is one number.

    Raises `InvalidRequest` for blocks that the UNet does not have.
    """
    if not isinstance(scale.unet, UNetScale):
        return {}
    layers = _expand(scale.unet, parts["unet"])
    return {"unet": lambda name: _by_layer(layers, name)}


def _expand(scale: UNetScale, unet: Any) -> dict[str, float]:
    """diffusers' expansion: a scale for each stack of transformers, by its module's name."""
    for side in ("down", "up"):
        blocks = getattr(unet, f"{side}_blocks")
        known = [f"block_{i}" for i, block in enumerate(blocks) if hasattr(block, "attentions")]
        chosen = getattr(scale, side)
        unknown = sorted(set(chosen) - set(known)) if isinstance(chosen, dict) else []
        if unknown:
            raise scale_error(f"{side} has no {', '.join(unknown)} with attention, only {', '.join(known)}")
    try:
        (layers,) = _maybe_expand_lora_scales(unet, [scale.model_dump()])
    except ValueError as error:
        raise scale_error(str(error)) from None
    return dict(layers)


def _by_layer(layers: Mapping[str, float], name: str) -> float:
    """As diffusers' ``set_weights_and_activate_adapters``: other layers have their block's scale.

    A layer outside of all blocks, on which diffusers fails, has the scale 1.
    """
    for layer, scale in layers.items():
        if layer in name:
            return scale
    steps = name.split(".")
    return layers.get(f"{steps[0]}.{steps[1]}.attentions.{steps[3]}", 1.0) if len(steps) > 3 else 1.0
