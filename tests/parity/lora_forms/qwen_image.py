"""Qwen-Image's LoRA files: every form has diffusers' names of modules."""

from typing import Any

from torch import Tensor

from tests.parity.lora_forms.form import LoraForm
from tests.parity.lora_forms.peft_form import PEFT
from tests.workers.lora.pipelines import down_up, factors, kohya, linears, peft


def _layers(pipe: Any) -> dict[str, tuple[int, int]]:
    return linears(pipe.transformer, "attn", "mlp")


def _with_adapter_name(pipe: Any) -> dict[str, Tensor]:
    """As PEFT's own model has them in memory."""
    return factors(_layers(pipe), ".lora_A.default.weight", ".lora_B.default.weight")


FORMS: dict[str, LoraForm] = {
    **PEFT,
    "kohya": LoraForm(lambda pipe: kohya(_layers(pipe), "lora_unet_")),
    "ai-toolkit": LoraForm(lambda pipe: peft(_layers(pipe), "diffusion_model.")),
    "comfyui": LoraForm(lambda pipe: peft(_layers(pipe), "diffusion_model.", alpha=".alpha")),
    "no-prefix": LoraForm(lambda pipe: down_up(_layers(pipe), "", alpha=".alpha")),
    "adapter-name": LoraForm(_with_adapter_name),
}
