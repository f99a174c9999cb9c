"""PEFT's form with diffusers' names, which every family's LoRAs may have."""

from functools import partial

from torch import nn

from infra.tiny_models.loras import lora_tensors
from tests.parity.lora_forms.form import LoraForm
from tests.workers.lora.pipelines import linears

#: Of one job.
PEFT = {"a": LoraForm(lora_tensors), "b": LoraForm(partial(lora_tensors, seed=1))}


def clip(text_encoder: nn.Module) -> dict[str, tuple[int, int]]:
    """Shapes of the attentions of a text encoder, by the names that files have."""
    shapes = linears(text_encoder, "self_attn")
    return {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes.items()}
