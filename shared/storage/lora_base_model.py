"""Tells which base model a LoRA was trained for, from the shapes and metadata in its header."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from shared.storage.safetensors_header import TensorInfo

Family = Literal["sd1", "sd2", "sdxl", "flux", "sd3", "qwen-image", "z-image"]
#: Families of UNets by the width of their cross-attention.
FAMILIES: Mapping[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}

#: Projections of cross-attention from the text's embeddings: ``attn2.to_k``, kohya's ``attn2_to_k``.
_FROM_TEXT = re.compile(r"attn2[._](?:processor\.)?to_[kv]")
_TEXT_FACTOR = re.compile(r"(lora_A|lora_down|lora\.down|hada_w1_b)\b")
_LOKR = re.compile(r"lokr_w1(_b)?$")
#: How trainers call the families: ``modelspec.architecture`` and ``ss_base_model_version``.
_ARCHITECTURE_KEYS = ("modelspec.architecture", "ss_base_model_version")
_ARCHITECTURES: tuple[tuple[str, Family], ...] = (
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("stable-diffusion-v2", "sd2"),
    ("sd_v2", "sd2"),
    ("sd_2", "sd2"),
    ("sd2", "sd2"),
    ("stable-diffusion-v1", "sd1"),
    ("sd_v1", "sd1"),
    ("sd_1", "sd1"),
    ("sd1", "sd1"),
    ("stable-diffusion-3", "sd3"),
    ("stable-diffusion-v3", "sd3"),
    ("sd3", "sd3"),
    ("flux-1", "flux"),
    ("flux.1", "flux"),
    ("flux1", "flux"),
    ("qwen-image", "qwen-image"),
    ("qwen_image", "qwen-image"),
    ("z-image", "z-image"),
    ("zimage", "z-image"),
    ("z_image", "z-image"),
)
#: What the same names begin with of models that are of other families.
_OTHER_ARCHITECTURES = ("qwen-image-edit", "qwen-image-layered", "qwen_image_edit")
#: Parts that no model with a UNet has.
_NOT_OF_UNETS = ("transformer", "text_encoder_3")
#: Other threads and gevent's greenlets run after so many keys.
_KEYS_PER_SLICE = 128


def cross_attention_dim(tensors: Mapping[str, TensorInfo]) -> int | None:
    """The input width of most of the file's projections from the text; None if it trains none."""
    widths = Counter(width for width in _text_widths(tensors) if width).most_common(1)
    return widths[0][0] if widths else None


def family_of(width: int | None, parts: set[str], metadata: Mapping[str, str]) -> Family | None:
    """The family of the base model; None if the header does not tell.

    Where no shape tells it, it is the one that the trainer names, else SDXL if a second text encoder is
    trained beside a UNet; alone it may be another family's. Keys with ``lora_te1_`` do not say so: some
    trainers number the only one.
    """
    if width:
        return FAMILIES.get(width)
    for key in _ARCHITECTURE_KEYS:
        architecture = metadata.get(key, "").lower()
        if architecture.startswith(_OTHER_ARCHITECTURES):
            continue
        for start, family in _ARCHITECTURES:
            if architecture.startswith(start):
                return family
    if metadata.get("ss_v2") == "True":
        return "sd2"
    is_sdxl = {"unet", "text_encoder_2"} <= parts and parts.isdisjoint(_NOT_OF_UNETS)
    return "sdxl" if is_sdxl else None


def iterate_cooperatively(keys: Iterable[str]) -> Iterator[str]:
    """The keys; other threads and greenlets run after every `_KEYS_PER_SLICE` of them."""
    for count, key in enumerate(keys):
        if count % _KEYS_PER_SLICE == 0:
            time.sleep(0)
        yield key


def _text_widths(tensors: Mapping[str, TensorInfo]) -> Iterator[int]:
    for key in iterate_cooperatively(tensors):
        info = tensors[key]
        if len(info.shape) < 2 or not _FROM_TEXT.search(key):
            continue
        if _TEXT_FACTOR.search(key):
            yield info.shape[1]
        elif match := _LOKR.search(key):
            # W = w1 ⊗ w2, each whole or in two factors: the widths multiply.
            stem = key[: match.start()]
            other = tensors.get(f"{stem}lokr_w2") or tensors.get(f"{stem}lokr_w2_b")
            if other is not None and len(other.shape) > 1:
                yield info.shape[1] * other.shape[1]
