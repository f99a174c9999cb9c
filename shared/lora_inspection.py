"""What the header of a LoRA file tells: rank, trained parts, the family of the base it was trained for."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from shared.contract import Message
from shared.errors import InvalidLora
from shared.safetensors_header import LENGTH_BYTES, MAX_HEADER_BYTES, TensorInfo

#: Families of bases by the width of their cross-attention.
Family = Literal["sd1", "sd2", "sdxl"]
FAMILIES: Mapping[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}

#: The first factor of a low-rank change, whose rows are its rank, in every format of the field.
_FIRST_FACTOR = re.compile(r"(lora_A|lora_down|lora\.down|hada_w1_b|hada_w2_b|lokr_w1_b|lokr_w2_b)\b")
#: Marks of a LoRA, of LyCORIS' LoHa and LoKr, and of their variants without a first factor.
_MARK = re.compile(r"lora_|lora\.|hada_|lokr_|lycoris_")
#: Projections of cross-attention from the text's embeddings: ``attn2.to_k``, kohya's ``attn2_to_k``.
_FROM_TEXT = re.compile(r"attn2[._](?:processor\.)?to_[kv]")
#: Names that only bases with two text encoders have; kohya numbers them.
_TWO_ENCODERS = ("text_encoder_2.", "lora_te1_", "lora_te2_")
#: How trainers call the families: ``modelspec.architecture`` and kohya's ``ss_base_model_version``.
_ARCHITECTURES: tuple[tuple[str, Family], ...] = (
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("stable-diffusion-v2", "sd2"),
    ("sd_v2", "sd2"),
    ("stable-diffusion-v1", "sd1"),
    ("sd_v1", "sd1"),
)
#: What `torch.save` writes: a zip archive, or before that a bare pickle. Read as the length of a header both
#: are too long for one; what is not is no pickle, though it may begin with the same two bytes.
_TORCH = (b"PK\x03\x04", b"\x80\x02")


class LoraInfo(Message):
    """What a file's header tells."""

    tensors: int
    rank: int  # the largest of its modules; 0 if it has no factors
    parts: list[str]  # of the base, that it trains
    cross_attention_dim: int | None = None  # of the base it was trained for, where it trains that
    family: Family | None = None  # None: the header does not tell


def inspect_lora(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> LoraInfo:
    """Read a header in diffusers', PEFT's, kohya's or LyCORIS' names; raises `InvalidLora` for no LoRA."""
    if not any(_MARK.search(key) for key in tensors):
        raise InvalidLora("the file has no LoRA: none of its tensors is a factor such as lora_A or lora_down")
    ranks = [info.shape[0] for key, info in tensors.items() if _FIRST_FACTOR.search(key) and info.shape]
    width = _cross_attention_dim(tensors)
    return LoraInfo(
        tensors=len(tensors),
        rank=max(ranks, default=0),
        parts=sorted({_part_of(key) for key in tensors}),
        cross_attention_dim=width,
        family=FAMILIES.get(width) if width else _told_family(tensors, metadata),
    )


def misfit(info: LoraInfo, width: int) -> str | None:
    """Why a LoRA cannot fit a base whose cross-attention has ``width``; None if it may."""
    if info.cross_attention_dim is not None:
        if info.cross_attention_dim == width:
            return None
        theirs = f"cross-attention of width {info.cross_attention_dim}"
    else:
        if info.family is None or width not in FAMILIES or FAMILIES[width] == info.family:
            return None
        theirs = "another"
    trained_for = f"{info.family} ({theirs})" if info.family else f"a base with {theirs}"
    return f"was trained for {trained_for}; the model has {FAMILIES.get(width, 'its own')}, of width {width}"


def refuse_pickle(start: bytes) -> None:
    """Raise `InvalidLora` for what `torch.save` wrote: unpickling runs whatever code it holds."""
    is_length = int.from_bytes(start[:LENGTH_BYTES], "little") <= MAX_HEADER_BYTES
    if start.startswith(_TORCH) and not is_length:
        raise InvalidLora("the file is a PyTorch pickle, which may run code; convert it to safetensors")


def _part_of(key: str) -> str:
    if key.startswith(("text_encoder_2.", "lora_te2_")):
        return "text_encoder_2"
    return "text_encoder" if key.startswith(("text_encoder", "lora_te")) else "unet"


def _cross_attention_dim(tensors: Mapping[str, TensorInfo]) -> int | None:
    """The width that most projections from the text take in."""
    widths = [width for width in _text_widths(tensors) if width]
    return max(set(widths), key=widths.count) if widths else None


def _text_widths(tensors: Mapping[str, TensorInfo]) -> Iterator[int]:
    for key, info in tensors.items():
        if not _FROM_TEXT.search(key) or len(info.shape) < 2:
            continue
        if re.search(r"(lora_A|lora_down|lora\.down|hada_w1_b)\b", key):
            yield info.shape[1]
        elif match := re.search(r"lokr_w1(_b)?$", key):
            # W = w1 ⊗ w2, each whole or in two factors: the widths multiply.
            stem = key[: match.start()]
            other = tensors.get(f"{stem}lokr_w2") or tensors.get(f"{stem}lokr_w2_b")
            if other is not None and len(other.shape) > 1:
                yield info.shape[1] * other.shape[1]


def _told_family(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> Family | None:
    """The family where no shape tells it: a second text encoder, or the trainer's own word."""
    if any(key.startswith(_TWO_ENCODERS) for key in tensors):
        return "sdxl"
    told = metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version") or ""
    return next((family for start, family in _ARCHITECTURES if told.lower().startswith(start)), None)
