"""Tells which transformer a LoRA was trained for, from the names of its modules and their widths.

Trainers use the names of diffusers (``transformer_blocks.0.attn.to_q``) or of the model's authors
(``double_blocks.0.img_attn.qkv``), kohya's with underscores in place of dots.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from shared.storage.lora_modules import NAME_START
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
#: Names that models have which are of none of the families, and share other names with one.
_OTHERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "Flux.2",
        re.compile(r"attn[._]to_qkv_mlp_proj|_stream_modulation[._]|[._]ff(_context)?[._]linear_(in|out)\b"),
    ),
    (
        "HunyuanVideo",
        re.compile(
            r"double_blocks\.\d+\.(img|txt)_attn_(qkv|proj)|double_blocks[._]\d+[._](img|txt)_mlp[._]fc[12]"
            r"|token_refiner"
        ),
    ),
    ("Chroma", re.compile(r"distilled_guidance_layer[._]")),
    (
        "Lumina 2",
        re.compile(r"layers[._]\d+[._](adaLN_modulation[._]1|attn[._]to_[qkv])\b|time_caption_embed"),
    ),
    ("Wan", re.compile(NAME_START + r"blocks[._]\d+[._](self|cross)_attn[._][qkvo]\b")),
)
#: Modules beside the blocks by which a transformer begins and ends; no UNet has such names there.
_ENDS = re.compile(
    NAME_START
    + r"(?:x_embedder|all_x_embedder|img_in|txt_in|context_embedder|cap_embedder|time_text_embed|time_in"
    r"|vector_in|guidance_in|t_embedder|y_embedder|final_layer|all_final_layer|norm_out|proj_out)[._]"
    r"(?!norm[._])"
)
#: Modules of diffusers' names that Flux, Stable Diffusion 3 and Qwen-Image have: blocks that lie in no other.
_SHARED = re.compile(NAME_START + r"transformer_blocks[._](\d{1,4})[._](attn2?[._]|ff_|ff[._]|norm1)")
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
    blocks, kinds, widths, is_transformer = set(), set(), set(), False
    for key in keys:
        is_transformer = is_transformer or _is_transformers(key)
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
    if blocks:
        return _by_shape(blocks, kinds, widths)
    return "unknown" if is_transformer else None


def other_model(keys: Iterable[str]) -> str | None:
    """The model of none of the families that has modules of these names, as its authors call it."""
    for key in keys:
        for name, pattern in _OTHERS:
            if pattern.search(key):
                return name
    return None


def _is_transformers(key: str) -> bool:
    return bool(_ENDS.match(key) or any(pattern.search(key) for _, pattern in _OTHERS))


def _by_shape(blocks: set[int], kinds: set[str], widths: set[int]) -> TransformerFamily | Literal["unknown"]:
    if "attn2" in kinds or widths & {*_SD3_WIDTHS}:
        return "sd3"
    if widths == {_WIDE}:
        if max(blocks) >= _FLUX_BLOCKS:
            return "qwen-image"
        if kinds > {"attn"}:  # Qwen-Image's other modules have names of their own
            return "flux"
    return "unknown"
