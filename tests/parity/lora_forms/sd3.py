"""Stable Diffusion 3's LoRA files: diffusers loads PEFT's form, of Stability's names none."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from tests.original_names import sd3_names
from tests.parity.lora_forms.arithmetic import added_to_originals, original_shapes, product_of
from tests.parity.lora_forms.form import LoraForm, flat
from tests.parity.lora_forms.peft_form import PEFT, clip, lora_tensors
from tests.workers.lora.pipelines import down_up, kohya

_LAYERS = ("attn", "mlp.fc1", "final_layer.adaLN")
#: What stands before a module's name, by the pipeline's parts.
_KOHYA = {"transformer": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
_COMFYUI = {
    "transformer": "diffusion_model.",
    "text_encoder": "text_encoders.clip_l.transformer.",
    "text_encoder_2": "text_encoders.clip_g.transformer.",
}


def _shapes(pipe: Any) -> dict[str, dict[str, tuple[int, int]]]:
    """By part: rows and columns of what is trained."""
    return {
        "transformer": original_shapes(pipe.transformer, sd3_names, *_LAYERS),
        "text_encoder": clip(pipe.text_encoder),
        "text_encoder_2": clip(pipe.text_encoder_2),
    }


def _tensors(
    write: Callable[..., dict[str, Tensor]], prefixes: Mapping[str, str], pipe: Any
) -> dict[str, Tensor]:
    tensors = {}
    for part, shapes in _shapes(pipe).items():
        tensors |= write(shapes, prefixes[part], alpha=".alpha")
    return tensors


def _added(stem: Callable[[str, str], str], pipe: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``stem`` makes a module's keys of its part and name."""
    added = {}
    for part, shapes in _shapes(pipe).items():
        products = {name: product_of(tensors, stem(part, name)) for name in shapes}
        if part == "transformer":
            changes = added_to_originals(pipe.transformer, sd3_names, products)
        else:
            names = dict(getattr(pipe, part).named_parameters())
            changes = {_name_in(names, f"{name}.weight"): change for name, change in products.items()}
        added |= {f"{part}.{name}": change for name, change in changes.items()}
    return added


def _name_in(names: Mapping[str, Any], name: str) -> str:
    """transformers 5 dropped the level ``text_model`` of some text encoders, which files name."""
    return name if name in names else name.removeprefix("text_model.")


FORMS: dict[str, LoraForm] = {
    **PEFT,
    "text": LoraForm(partial(lora_tensors, parts=("transformer", "text_encoder", "text_encoder_2"))),
    "kohya": LoraForm(
        partial(_tensors, kohya, _KOHYA), partial(_added, lambda part, name: flat(_KOHYA[part], name))
    ),
    "comfyui": LoraForm(
        partial(_tensors, down_up, _COMFYUI), partial(_added, lambda part, name: _COMFYUI[part] + name)
    ),
}
