"""Which modules of Stable Diffusion and SDXL a LoRA file trains.

Names with underscores for dots, and ComfyUI's, are looked up among the model's own. The others are PEFT's and
diffusers', and are converted by diffusers. It looks at one key of a file and takes the others to be of the
same style; a file of mixed styles then loads in part, without an error. Here every key is converted as the
style it has itself.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from torch import nn

from workers.families.unet.original_names import original_names
from workers.lora.formats.parse_errors import parse_errors_as_invalid
from workers.lora.targets import LoraTarget

#: What stands before names with underscores for dots, and the part it means: kohya's, whose ``te2`` is SDXL's
#: second text encoder, and the one that LyCORIS itself writes.
_FLAT = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lycoris_": "unet",
}
#: ComfyUI's text encoders: SD 1's, which is SDXL's first one, SD 2's, and SDXL's second one.
_COMFY = {
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_h.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
}
_PEFT = re.compile(r"(unet|text_encoder|text_encoder_2)\.(.+)\.lora_A\.weight")
#: PEFT writes the adapter's name into a state dict that was not saved by PEFT itself.
_ADAPTER = re.compile(r"\.(lora_[AB])\.\w+\.weight$")
_OLD_TEXT = re.compile(r"\.to_(q|k|v|out)_lora\.")
_CLIP = re.compile(r"text_model\.|text_projection\b|.*\.(self_attn|mlp)\.")


@dataclass(frozen=True)
class UNetLoraTargets:
    """See `LoraTargets`; one part is ``unet``."""

    parts: Mapping[str, nn.Module]

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget]]:
        """See `LoraTargets`."""
        own = dict(_own_names(self.parts))
        for stem, keys in groups.items():
            if stem in own:
                yield stem, own[stem]
                continue
            with parse_errors_as_invalid(keys.values()):
                match = _PEFT.fullmatch(_peft_name(keys.get("a", f"{stem}.lora_A.weight")))
            if match:
                yield stem, LoraTarget(match[1], match[2])


def _own_names(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, LoraTarget]]:
    """The modules of the models by all their names but PEFT's and diffusers'."""
    for part, model in models.items():
        flat = [prefix for prefix, meant in _FLAT.items() if meant == part]
        for name, _ in model.named_modules():
            for spelling in _spellings(part, name):
                yield from ((prefix + spelling.replace(".", "_"), LoraTarget(part, name)) for prefix in flat)
                yield from (
                    (prefix + spelling, LoraTarget(part, name))
                    for prefix, meant in _COMFY.items()
                    if meant == part
                )
    for theirs, ours in original_names(models["unet"]):
        module = LoraTarget("unet", ours)
        yield f"diffusion_model.{theirs}", module
        yield from ((f"{prefix}{theirs.replace('.', '_')}", module) for prefix in ("lora_unet_", "lycoris_"))


def _spellings(part: str, name: str) -> tuple[str, ...]:
    """transformers 5 dropped the level ``text_model`` of text encoders, which files name."""
    bare = name.removeprefix("text_model.")
    return (name,) if part == "unet" else (bare, f"text_model.{bare}")


def _peft_name(name: str) -> str:
    name = _ADAPTER.sub(r".\1.weight", name.removeprefix("base_model.model."))
    if not name.startswith(("unet.", "text_encoder.", "text_encoder_2.")):
        name = ("text_encoder." if _CLIP.match(name) else "unet.") + name
    style = None
    if not name.startswith("unet."):
        if _OLD_TEXT.search(name):
            style = StateDictType.DIFFUSERS_OLD
        elif "lora_linear_layer" in name:
            style = StateDictType.DIFFUSERS
    one = {name: torch.empty(0)}
    if style is None:
        converted = convert_unet_state_dict_to_peft(one)
    else:
        converted = convert_state_dict_to_peft(one, original_type=style)
    return str(next(iter(converted)))
