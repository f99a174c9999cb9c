"""Tells which transformer a LoRA was trained for, from the names of its modules and their widths.

Trainers use the names of diffusers (``transformer_blocks.0.attn.to_q``) or of the model's authors
(``double_blocks.0.img_attn.qkv``), kohya's with underscores in place of dots.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from shared.storage.safetensors_header import TensorInfo

TransformerFamily = Literal["flux", "sd3", "qwen-image", "z-image"]

#: Modules that one family alone has.
_OWN: tuple[tuple[TransformerFamily, re.Pattern[str]], ...] = (
    (
        "flux",
        re.compile(
            r"(double|single)_blocks[._]\d+[._](img|txt|linear|modulation|processor)"
            r"|single_transformer_blocks[._]\d+"
        ),
    ),
    ("sd3", re.compile(r"joint_blocks[._]\d+")),
    ("qwen-image", re.compile(r"(?<!single_)transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)")),
    (
        "z-image",
        re.compile(r"(layers|noise_refiner|context_refiner)[._]\d+[._](attention|feed_forward|adaLN_mod)"),
    ),
)
#: Modules of diffusers' names that Flux, Stable Diffusion 3 and Qwen-Image have: blocks that lie in no other.
_SHARED = re.compile(
    r"^(?:base_model\.model\.)?(?:transformer\.|diffusion_model\.|lora_unet_|lora_transformer_|lycoris_)?"
    r"transformer_blocks[._](\d{1,4})[._](attn2?[._]|ff_|ff[._]|norm1)"
)
_FROM_IMAGE = re.compile(r"attn[._]to_[qkv][._]")
_FIRST_FACTOR = re.compile(r"(lora_A|lora_down|lora\.down)\b")
#: Widths of Stable Diffusion 3 and 3.5, medium and large; Flux and Qwen-Image are both of 3072.
_SD3_WIDTHS, _WIDE = (1536, 2432), 3072
#: Flux has so many blocks of the kind that Qwen-Image has more of.
_FLUX_BLOCKS = 19


def transformer_family(
    keys: Iterable[str], tensors: Mapping[str, TensorInfo]
) -> TransformerFamily | Literal["unknown"] | None:
    """The family of the transformer that ``tensors`` were trained for; ``unknown``: one of several.

    ``None``: none of them is of a transformer.
    """
    blocks, kinds, widths = set(), set(), set()
    for key in keys:
        for family, pattern in _OWN:
            if pattern.search(key):
                return family
        match = _SHARED.match(key)
        if match is not None:
            blocks.add(int(match[1]))
            kinds.add(match[2].rstrip("._"))
            shape = tensors[key].shape
            if len(shape) > 1 and _FROM_IMAGE.search(key) and _FIRST_FACTOR.search(key):
                widths.add(shape[1])
    return _by_shape(blocks, kinds, widths) if blocks else None


def _by_shape(blocks: set[int], kinds: set[str], widths: set[int]) -> TransformerFamily | Literal["unknown"]:
    if "attn2" in kinds or widths & {*_SD3_WIDTHS}:
        return "sd3"
    if widths == {_WIDE}:
        if max(blocks) >= _FLUX_BLOCKS:
            return "qwen-image"
        if kinds > {"attn"}:  # Qwen-Image's other modules have names of their own
            return "flux"
    return "unknown"
