"""Which modules of Qwen-Image a LoRA file trains: its authors' names are diffusers'."""

from collections.abc import Mapping

from torch import nn

from workers.families.transformer.lora_targets import TransformerLoraTargets, same_names


def qwen_image_lora_targets(parts: Mapping[str, nn.Module]) -> TransformerLoraTargets:
    """Of a model with these ``parts``."""
    return TransformerLoraTargets(parts, same_names)
