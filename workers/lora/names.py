"""What a LoRA file calls its tensors, in PEFT's words: diffusers' own conversions, key by key.

diffusers looks at one key of a file and takes the others to be of the same style; a file of mixed
styles then loads in part, without an error. Here every key is converted as the style it has itself.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from torch import Tensor

#: A module of kohya's form: dots became underscores. ``te2`` is SDXL's second text encoder.
_KOHYA = re.compile(r"lora_(unet|te|te1|te2)_\w+\.lora_(down|up)\.weight")
#: The end of a tensor's name in every style; what stands before it is the module.
_END = re.compile(r"[._]lora(_linear_layer)?[._](A|down|B|up)(\.\w+)?\.weight$")
_PEFT = re.compile(r"(unet|text_encoder)\.(.+)\.lora_([AB])\.weight")
#: PEFT writes the adapter's name into a state dict that was not saved by PEFT itself.
_ADAPTER = re.compile(r"\.(lora_[AB])\.\w+\.weight$")
_OLD_TEXT = re.compile(r"\.to_(q|k|v|out)_lora\.")
_CLIP = re.compile(r"text_model\.|text_projection\b|.*\.(self_attn|mlp)\.")


class Half(NamedTuple):
    """One factor of a product: which side (``A`` or ``B``) of which module of which part."""

    part: str
    module: str
    side: str


def find_halves(tensors: dict[str, Tensor], unet_config: Any = None) -> dict[str, Half]:
    """Which factor each key of a file holds; keys that hold none are left out.

    ``unet_config`` lets SDXL's block numbers, which kohya counts in another way, be mapped.
    """
    halves = {}
    for key, name in _spelled_out(tensors, unet_config).items():
        match = _PEFT.fullmatch(_peft_name(name, tensors[key]))
        if match:
            halves[key] = Half(*match.groups())
    return halves


def find_lonely(tensors: Iterable[str]) -> list[str]:
    """Keys of factors whose other factor the file does not have."""
    modules = defaultdict(list)
    sides = defaultdict(set)
    for key in tensors:
        end = _END.search(key)
        if end:
            modules[key[: end.start()]].append(key)
            sides[key[: end.start()]].add(end[2] in ("A", "down"))
    return [key for module, keys in modules.items() if len(sides[module]) == 1 for key in keys]


def alpha_key(key: str) -> str:
    """Where a file keeps the alpha of the module that ``key`` belongs to, if it keeps one."""
    return _END.sub("", key) + ".alpha"


def _spelled_out(tensors: dict[str, Tensor], unet_config: Any) -> dict[str, str]:
    """Names with dots for kohya's keys, the others' own for the rest."""
    names = {key: key for key in tensors if _END.search(key)}
    kohya = {key: tensor for key, tensor in tensors.items() if _KOHYA.fullmatch(key)}
    if kohya:
        key_of = {id(tensor): key for key, tensor in kohya.items()}
        spelled, _ = StableDiffusionLoraLoaderMixin.lora_state_dict(dict(kohya), unet_config=unet_config)
        names = {key: name for key, name in names.items() if key not in kohya}
        names |= {key_of[id(tensor)]: name for name, tensor in spelled.items()}
    return names


def _peft_name(name: str, tensor: Tensor) -> str:
    name = _ADAPTER.sub(r".\1.weight", name.removeprefix("base_model.model."))
    if not name.startswith(("unet.", "text_encoder.", "text_encoder_2.")):
        name = ("text_encoder." if _CLIP.match(name) else "unet.") + name
    style = None
    if not name.startswith("unet."):
        if _OLD_TEXT.search(name):
            style = StateDictType.DIFFUSERS_OLD
        elif "lora_linear_layer" in name:
            style = StateDictType.DIFFUSERS
    if style is None:
        converted = convert_unet_state_dict_to_peft({name: tensor})
    else:
        converted = convert_state_dict_to_peft({name: tensor}, original_type=style)
    return str(next(iter(converted)))
