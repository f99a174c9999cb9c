"""What a LoRA file calls its tensors: which module each belongs to, by diffusers' own conversions.

diffusers looks at one key of a file and takes the others to be of the same style; a file of mixed
styles then loads in part, without an error. Here every key is converted as the style it has itself.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from torch import nn

#: The end of a key says what the tensor is; what stands before it is the module, in any style.
_FACTOR = re.compile(r"[._]lora(_linear_layer)?[._](A|down|B|up|mid)(\.\w+)?\.(weight|bias)$")
_MAGNITUDE = re.compile(r"\.lora_magnitude_vector(\.\w+)?(\.weight)?$")
_LYCORIS = re.compile(
    r"\.(alpha|dora_scale|diff|diff_b|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)(\.weight)?$"
)
_SIDES = {"A": "a", "down": "a", "B": "b", "up": "b", "mid": "mid"}
#: A module of kohya's form: dots became underscores. ``te2`` is SDXL's second text encoder.
_KOHYA = re.compile(r"lora_(unet|te|te1|te2)_\w+")
#: What stands before such names, and the part it means; the last is what LyCORIS itself writes.
_FLAT = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lycoris_": "unet",
}
_PEFT = re.compile(r"(unet|text_encoder|text_encoder_2)\.(.+)\.lora_A\.weight")
#: PEFT writes the adapter's name into a state dict that was not saved by PEFT itself.
_ADAPTER = re.compile(r"\.(lora_[AB])\.\w+\.weight$")
_OLD_TEXT = re.compile(r"\.to_(q|k|v|out)_lora\.")
_CLIP = re.compile(r"text_model\.|text_projection\b|.*\.(self_attn|mlp)\.")


class Module(NamedTuple):
    """A module of a part of the model, as diffusers and transformers name it."""

    part: str
    name: str


def group_keys(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each module, as the file names it, the keys of its tensors by their roles.

    Roles are ``a``, ``b`` and ``mid`` of a low-rank product, ``b_bias``, ``magnitude``, and LyCORIS' own
    names for the rest. Keys that say none are left out.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for key in keys:
        found = _role(key)
        if found is not None:
            stem, role = found
            groups[stem][role] = key
    return groups


def find_modules(
    groups: Mapping[str, Mapping[str, str]], models: Mapping[str, nn.Module]
) -> dict[str, Module]:
    """Which module each group belongs to; those that diffusers takes for none are left out.

    ``models`` are the parts, by name; one is ``unet``. A name that is one of their own modules', with
    underscores for dots, is that module; others of kohya's form, such as the numbers that he gives
    SDXL's blocks, are converted by diffusers.
    """
    own = _flattened(models)
    found = {stem: own[stem] for stem in groups if stem in own}
    others = [stem for stem in groups if stem not in own]
    names = {stem: _peft_name(groups[stem].get("a", f"{stem}.lora_A.weight")) for stem in others}
    kohya = [stem for stem in others if _KOHYA.fullmatch(stem)]
    names |= {stem: _peft_name(name) for stem, name in _spelled_out(kohya, models["unet"])}
    matches = {stem: _PEFT.fullmatch(name) for stem, name in names.items()}
    return found | {stem: Module(*match.groups()) for stem, match in matches.items() if match}


def _role(key: str) -> tuple[str, str] | None:
    """The module as the file names it, and what the tensor is to it."""
    if match := _FACTOR.search(key):
        role = _SIDES[match[2]] + ("_bias" if match[4] == "bias" else "")
    elif match := _MAGNITUDE.search(key):
        role = "magnitude"
    elif match := _LYCORIS.search(key):
        role = match[1]
    else:
        return None
    return key[: match.start()], role


def _flattened(models: Mapping[str, nn.Module]) -> dict[str, Module]:
    """The modules of the models by their names with underscores for dots."""
    return {
        prefix + name.replace(".", "_"): Module(part, name)
        for prefix, part in _FLAT.items()
        if part in models
        for name, _ in models[part].named_modules()
    }


def _spelled_out(stems: list[str], unet: nn.Module) -> Iterable[tuple[str, str]]:
    """Names with dots for kohya's modules; diffusers converts files, so it gets one of empty tensors."""
    if not stems:
        return
    stem_of = {}
    file = {}
    for stem in stems:
        down = file[f"{stem}.lora_down.weight"] = torch.empty(0)
        file[f"{stem}.lora_up.weight"] = torch.empty(0)
        stem_of[id(down)] = stem
    spelled, _ = StableDiffusionLoraLoaderMixin.lora_state_dict(
        dict(file), unet_config=getattr(unet, "config", None)
    )
    for name, tensor in spelled.items():
        if id(tensor) in stem_of:
            yield stem_of[id(tensor)], name


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
