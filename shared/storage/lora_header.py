"""What the header of a LoRA file tells: rank, trained parts, the family of the base it was trained for."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from shared.errors import InvalidLora
from shared.message_base import Message
from shared.storage.safetensors_header import LENGTH_BYTES, MAX_HEADER_BYTES, TensorInfo

#: Families of bases by the width of their cross-attention.
Family = Literal["sd1", "sd2", "sdxl"]
FAMILIES: Mapping[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}

#: What factors and differences may be stored as; 8 bits without scales of their own are floating point, too.
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
#: An alpha may be an integer: trainers write what they were given.
_INTEGERS = {"I64", "I32", "I16", "I8", "U8"}
#: Embeddings that OneTrainer puts into the file of a LoRA: they are no part of it.
_EMBEDDING, _EMBEDDING_END = "bundle_emb.", ".string_to_param.*"
#: The first factor of a low-rank change, whose rows are its rank, in every format of the field.
_FIRST_FACTOR = re.compile(r"(lora_A|lora_down|lora\.down|hada_w1_b|hada_w2_b|lokr_w1_b|lokr_w2_b)\b")
#: Marks of a LoRA, of LyCORIS' LoHa and LoKr, and of their variants without a first factor.
_MARK = re.compile(r"lora_|lora\.|hada_|lokr_|lycoris_|\.diff(_b)?$|\.[wb]_norm$")
#: Projections of cross-attention from the text's embeddings: ``attn2.to_k``, kohya's ``attn2_to_k``.
_FROM_TEXT = re.compile(r"attn2[._](?:processor\.)?to_[kv]")
_TEXT_FACTOR = re.compile(r"(lora_A|lora_down|lora\.down|hada_w1_b)\b")
_LOKR = re.compile(r"lokr_w1(_b)?$")
#: How files begin the names of what is in a text encoder; ComfyUI's ``clip_l`` is SD's and SDXL's first one,
#: ``clip_h`` is SD 2's. Only SDXL has a second one.
_SECOND_ENCODER = ("text_encoder_2.", "lora_te2_", "text_encoders.clip_g.")
_FIRST_ENCODER = ("text_encoder", "text_model.", "lora_te")
#: How trainers call the families: ``modelspec.architecture`` and ``ss_base_model_version``.
_WORDS = ("modelspec.architecture", "ss_base_model_version")
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
)
#: What `torch.save` writes: a zip archive, or before that a bare pickle. Read as the length of a header both
#: are too long for one; what is not is no pickle, though it may begin with the same two bytes.
_TORCH = (b"PK\x03\x04", b"\x80\x02")
#: Enough to see the pattern of what does not fit.
NAMED_KEYS = 5
#: After so many keys other threads and gevent's greenlets run.
_KEYS_AT_ONCE = 128


class LoraInfo(Message):
    """What a file's header tells."""

    tensors: int
    rank: int  # the largest of its modules; 0 if it has no factors
    parts: list[str]  # of the base, that it trains
    cross_attention_dim: int | None = None  # of the base it was trained for, where it trains that
    family: Family | None = None  # None: the header does not tell
    embeddings: tuple[str, ...] = ()  # names of the first few that are in the file and do not count


def inspect_lora(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> LoraInfo:
    """Read a header in diffusers', PEFT's, kohya's or LyCORIS' names; raises `InvalidLora` for no LoRA."""
    embeddings, factors = split_embeddings(tensors)
    if not any(_MARK.search(key) for key in _in_turns(factors)):
        raise InvalidLora("the file has no LoRA: none of its tensors is a factor such as lora_A or lora_down")
    refuse_keys(
        "hold no floating point numbers",
        (f"{key} ({info.dtype})" for key, info in factors.items() if not _is_real(key, info.dtype)),
    )
    first = [key for key in _in_turns(factors) if _FIRST_FACTOR.search(key)]
    ranks = (factors[key].shape[0] for key in first if factors[key].shape)
    width = _cross_attention_dim(factors)
    parts = {_part_of(key) for key in factors}
    return LoraInfo(
        tensors=len(tensors),
        rank=max(ranks, default=0),
        parts=sorted(parts),
        cross_attention_dim=width,
        family=FAMILIES.get(width) if width else _family_of(parts, metadata),
        embeddings=tuple(embeddings),
    )


def split_embeddings(
    tensors: Mapping[str, TensorInfo],
) -> tuple[list[str], dict[str, TensorInfo]]:
    """The names of the first few embeddings that a file carries, and all its other tensors."""
    names: dict[str, None] = {}
    others = {}
    for key, info in tensors.items():
        rest = key.removeprefix(_EMBEDDING)
        if rest in (key, ""):
            others[key] = info
        elif len(names) < NAMED_KEYS:
            names[_embedding_name(rest)] = None
    return list(names), others


def refuse_keys(why: str, keys: Iterable[str]) -> None:
    """Raise `InvalidLora` that names the first few of ``keys``, if there are any."""
    bad = sorted(keys)
    if bad:
        more = f" and {len(bad) - NAMED_KEYS} more" if len(bad) > NAMED_KEYS else ""
        raise InvalidLora(f"keys that {why}: {', '.join(bad[:NAMED_KEYS])}{more}")


def incompatibility(info: LoraInfo, width: int) -> str | None:
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


def _embedding_name(rest: str) -> str:
    """``cat`` of ``cat``, of ``cat.emb_params`` and of ``cat.string_to_param.*``."""
    if rest.endswith(_EMBEDDING_END):
        return rest.removesuffix(_EMBEDDING_END) or rest
    return rest.rpartition(".")[0] or rest


def _in_turns(keys: Iterable[str]) -> Iterator[str]:
    for count, key in enumerate(keys):
        if count % _KEYS_AT_ONCE == 0:
            time.sleep(0)
        yield key


def _part_of(key: str) -> str:
    if key.startswith(_SECOND_ENCODER):
        return "text_encoder_2"
    return "text_encoder" if key.startswith(_FIRST_ENCODER) else "unet"


def _is_real(key: str, dtype: str) -> bool:
    return dtype in FLOATS or (key.endswith(".alpha") and dtype in _INTEGERS)


def _cross_attention_dim(tensors: Mapping[str, TensorInfo]) -> int | None:
    """The width that most projections from the text take in."""
    widths = Counter(width for width in _text_widths(tensors) if width).most_common(1)
    return widths[0][0] if widths else None


def _text_widths(tensors: Mapping[str, TensorInfo]) -> Iterator[int]:
    for key in _in_turns(tensors):
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


def _family_of(parts: set[str], metadata: Mapping[str, str]) -> Family | None:
    """The family where no shape tells it: as the trainer says, else SDXL where there is a second encoder.

    ``lora_te1_`` is no sign of a second one: some trainers number the only one.
    """
    for key in _WORDS:
        word = metadata.get(key, "").lower()
        for start, family in _ARCHITECTURES:
            if word.startswith(start):
                return family
    if metadata.get("ss_v2") == "True":
        return "sd2"
    return "sdxl" if "text_encoder_2" in parts else None
