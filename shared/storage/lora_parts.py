"""Which parts of a base model the keys of a LoRA file are about, by their formats' prefixes."""

import re
from collections.abc import Iterable, Mapping

from shared.families.transformer import TransformerFacts
from shared.storage.lora_base_model import Family, iterate_cooperatively
from shared.storage.safetensors_header import TensorInfo

#: How keys of text encoders begin; ComfyUI's ``clip_l`` is the first one of most, ``clip_h`` is SD 2's.
#: Of UNets only SDXL's have a second one; T5 is the third of Stable Diffusion 3, and the second of Flux:
#: names that say no more than T5 are those of a third one, until the model is known.
_SECOND_ENCODER = ("text_encoder_2.", "lora_te2_", "text_encoders.clip_g.")
THIRD_ENCODER = "text_encoder_3"
_T5 = ("lora_te3_", "text_encoders.t5")
_T5_MODULE = re.compile(r"encoder[._]block[._]\d+[._]layer[._]")
_FIRST_ENCODER = ("text_encoder", "text_model.", "lora_te")
#: First factors of CLIP's modules that are given as many numbers as a token has.
_CLIP_FACTOR = re.compile(
    r"encoder[._]layers[._]\d+[._](?:self_attn[._](?:(?:q|k|v|out)_proj|to_(?:q|k|v|out))|mlp[._]fc1)"
    r"(?:\.|_lora\.|\.lora_linear_layer\.)(?:lora_A|lora_down|down|hada_w1_b)\b"
)


def part_of(key: str, known: frozenset[str], rest: str) -> str:
    """The part that a key names, by its format's prefix or as one of the ``known`` parts of all families.

    ``rest`` is that of keys which name none.
    """
    first = key.partition(".")[0]
    if first in known:
        return first
    if key.startswith(_SECOND_ENCODER):
        return "text_encoder_2"
    if key.startswith(_T5) or _T5_MODULE.search(key):
        return THIRD_ENCODER
    return "text_encoder" if key.startswith(_FIRST_ENCODER) else rest


def clip_widths(tensors: Mapping[str, TensorInfo], known: frozenset[str]) -> dict[str, int]:
    """How many numbers a token has in each text encoder that the file trains, if that is a CLIP; by part."""
    widths: dict[str, int] = {}
    for key in iterate_cooperatively(tensors):
        shape = tensors[key].shape
        if len(shape) == 2 and _CLIP_FACTOR.search(key):
            widths.setdefault(part_of(key, known, "text_encoder"), shape[1])
    return widths


def family_by_t5(keys: Iterable[str]) -> Family | None:
    """The family whose T5 has the number that one of the ``keys`` gives it; None: none gives it one."""
    for key in keys:
        if not _T5_MODULE.search(key):
            continue
        if key.startswith(_SECOND_ENCODER):
            return "flux"
        if key.startswith(f"{THIRD_ENCODER}."):
            return "sd3"
    return None


def with_t5_of(facts: TransformerFacts, parts: Iterable[str]) -> set[str]:
    """The parts as a family calls them, of which T5 is the last text encoder."""
    encoders = [part for part in facts.lora_parts if part.startswith("text_encoder")]
    return {encoders[-1] if part == THIRD_ENCODER and encoders else part for part in parts}
