"""Which modules of Z-Image a LoRA file trains: also by the names of its first release."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from workers.families.transformer.lora_targets import Layers, OriginalModule, TransformerLoraTargets, stack

_ATTENTION: Layers = {
    "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
    "attention.q_norm": "attention.norm_q",
    "attention.k_norm": "attention.norm_k",
    "attention.out": "attention.to_out.0",
}


def z_image_lora_targets(parts: Mapping[str, nn.Module]) -> TransformerLoraTargets:
    """Of a model with these ``parts``."""
    return TransformerLoraTargets(parts, _original_modules)


def _original_modules(transformer: Any) -> Iterator[OriginalModule]:
    # Of several patch sizes the first release has one.
    if len(transformer.all_x_embedder) == 1:
        (patch,) = transformer.all_x_embedder
        yield OriginalModule("x_embedder", (f"all_x_embedder.{patch}",))
        final = {"linear": "linear", "adaLN_modulation.1": "adaLN_modulation.1"}
        yield from stack("final_layer", f"all_final_layer.{patch}", final)
    for blocks in ("noise_refiner", "context_refiner", "layers"):
        for i in range(len(getattr(transformer, blocks))):
            yield from stack(f"{blocks}.{i}", f"{blocks}.{i}", _ATTENTION)
