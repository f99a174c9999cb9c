"""What the header of a LoRA file tells: rank, trained parts, the base model it was trained for."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from pydantic import Field

from shared.errors import InvalidLora, InvalidSafetensors
from shared.families.base import Config, FamilyFacts
from shared.families.controlnets import ModelSignature
from shared.families.registry import lora_parts, named
from shared.families.transformer import TransformerFacts
from shared.families.unet import UNetFacts
from shared.message_base import Message
from shared.storage.lora_base_model import (
    FAMILIES,
    Family,
    cross_attention_dim,
    family_of,
    iterate_cooperatively,
)
from shared.storage.lora_modules import TrainedModules, misfit, trained_modules
from shared.storage.lora_parts import THIRD_ENCODER, clip_widths, family_by_t5, part_of, with_t5_of
from shared.storage.lora_transformer import other_model, transformer_family
from shared.storage.safetensors_header import LENGTH_BYTES, MAX_HEADER_BYTES, TensorInfo

#: Types of factors and differences; 8-bit types without scales of their own are floating point, too.
FLOAT_DTYPES = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
#: An alpha may be an integer: trainers write what they were given.
_INTEGER_DTYPES = {"I64", "I32", "I16", "I8", "U8"}
#: Embeddings that OneTrainer puts into the file of a LoRA: they are no part of it.
_EMBEDDING, _EMBEDDING_END = "bundle_emb.", ".string_to_param.*"
#: The first factor of a low-rank product, whose rows are its rank, in every format of the field.
_FIRST_FACTOR = re.compile(r"(lora_A|lora_down|lora\d?\.down|hada_w1_b|hada_w2_b|lokr_w1_b|lokr_w2_b)\b")
#: Keys of a LoRA, of LyCORIS' LoHa and LoKr, and of their variants without a first factor.
_LORA_KEY = re.compile(r"lora_|lora\d?\.|hada_|lokr_|lycoris_|\.diff(_b)?$|\.[wb]_norm$")
#: What `torch.save` writes: a zip archive, or before that a bare pickle. Read as the length of a header both
#: exceed its limit; a real header may begin with the same two bytes, but not exceed it.
_TORCH_MAGIC = (b"PK\x03\x04", b"\x80\x02")
#: Errors name so many keys: enough to see what they have in common.
NAMED_KEYS = 5


class LoraInfo(Message):
    """What a file's header tells."""

    tensors: int
    rank: int  # the largest of its modules; 0 if it has no factors
    parts: list[str]  # of the base model, that it trains
    cross_attention_dim: int | None = None  # of the base model it was trained for, where it trains that
    family: Family | None = None  # None: the header does not tell, or it may be one of several
    #: Of tokens, in the text encoders that it trains, if they are CLIPs.
    clip_widths: dict[str, int] = Field(default_factory=dict)
    embeddings: tuple[str, ...] = ()  # names of the first few that are in the file and are not applied
    other_model: str | None = None  # that it was trained for, of none of the families
    modules: TrainedModules = TrainedModules({}, {})  # of a transformer


def inspect_lora(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> LoraInfo:
    """Read a header in diffusers', PEFT's, kohya's or LyCORIS' names; raises `InvalidLora` for no LoRA."""
    embeddings, factors = split_embeddings(tensors)
    if not any(_LORA_KEY.search(key) for key in iterate_cooperatively(factors)):
        raise InvalidLora("the file has no LoRA: none of its tensors is a factor such as lora_A or lora_down")
    refuse_keys(
        "hold no floating point numbers",
        (f"{key} ({info.dtype})" for key, info in factors.items() if not _is_real(key, info.dtype)),
    )
    first = [key for key in iterate_cooperatively(factors) if _FIRST_FACTOR.search(key)]
    ranks = (factors[key].shape[0] for key in first if factors[key].shape)
    transformer = transformer_family(iterate_cooperatively(factors), factors)
    other = None if transformer is None else other_model(iterate_cooperatively(factors))
    width = cross_attention_dim(factors) if transformer is None else None
    known, part_of_the_rest = lora_parts(), "unet" if transformer is None else "transformer"
    parts = {part_of(key, known, part_of_the_rest) for key in factors}
    if other is not None:
        family = None
    elif transformer is None or transformer == "unknown":
        family = family_by_t5(iterate_cooperatively(factors)) or family_of(width, parts, metadata)
    else:
        family = transformer
    if family is not None and isinstance(facts := named(family), TransformerFacts):
        parts = with_t5_of(facts, parts)
    return LoraInfo(
        tensors=len(tensors),
        rank=max(ranks, default=0),
        parts=sorted(parts),
        cross_attention_dim=width,
        family=family,
        clip_widths=clip_widths(factors, known),
        embeddings=tuple(embeddings),
        other_model=other,
        modules=TrainedModules({}, {}) if transformer is None else trained_modules(factors),
    )


def split_embeddings(
    tensors: Mapping[str, TensorInfo],
) -> tuple[list[str], dict[str, TensorInfo]]:
    """The names of the first few embeddings in a file, and all its other tensors."""
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
    refused = sorted(keys)
    if refused:
        more = f" and {len(refused) - NAMED_KEYS} more" if len(refused) > NAMED_KEYS else ""
        raise InvalidLora(f"keys that {why}: {', '.join(refused[:NAMED_KEYS])}{more}")


def incompatibility(
    info: LoraInfo,
    model: ModelSignature,
    encoders: Mapping[str, Config] = MappingProxyType({}),
    denoiser: Config | None = None,
) -> str | None:
    """Why a LoRA cannot fit a base model; None if it may.

    ``encoders``: the configs of the model's text encoders by part, as far as they are known; ``denoiser``:
    that of its denoiser.
    """
    facts = named(model.family)
    if info.other_model is not None:
        why: str | None = f"was trained for {info.other_model}; the model is {model.label}"
    elif isinstance(facts, TransformerFacts):
        why = _transformer_incompatibility(info, facts)
        if why is None and denoiser is not None:
            why = misfit(info.modules, facts, denoiser)
    elif model.text_width is None:
        return None
    else:
        why = _unet_incompatibility(info, model, model.text_width)
        if why is None and isinstance(facts, UNetFacts):
            why = _untrainable(info.parts, facts)
    return why or _encoder_incompatibility(info, encoders)


def _transformer_incompatibility(info: LoraInfo, facts: TransformerFacts) -> str | None:
    if info.family not in (None, facts.name):
        return f"was trained for {_label(info.family)}; the model is {facts.label}"
    if info.cross_attention_dim is not None:
        return f"has cross-attention, so it was trained for a UNet; the model is {facts.label}"
    t5 = with_t5_of(facts, [THIRD_ENCODER]) & info.clip_widths.keys()
    if t5:
        return f"trains a CLIP as {t5.pop()}, which is a T5 in {facts.label}"
    return _untrainable(with_t5_of(facts, info.parts) - {"unet"}, facts)


def _untrainable(parts: Iterable[str], facts: FamilyFacts) -> str | None:
    others = {*parts} - {*facts.lora_parts}
    if not others:
        return None
    theirs, ours = " and ".join(sorted(others)), " and ".join(facts.lora_parts)
    return f"trains {theirs}, and only {ours} of {facts.label} can be trained"


def _encoder_incompatibility(info: LoraInfo, encoders: Mapping[str, Config]) -> str | None:
    for part, width in info.clip_widths.items():
        own = encoders.get(part, {}).get("hidden_size", width)
        if own != width:
            return f"trains a {part} of width {width}; that of the model has width {own}"
    return None


def _label(family: Family | None) -> str | None:
    facts = None if family is None else named(family)
    return None if facts is None else facts.label


def _unet_incompatibility(info: LoraInfo, model: ModelSignature, width: int) -> str | None:
    of_transformer = isinstance(info.family and named(info.family), TransformerFacts)
    if of_transformer or not {"transformer", THIRD_ENCODER}.isdisjoint(info.parts):
        return f"was trained for {_label(info.family) or 'a transformer'}; the model is {model.label}"
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


@contextmanager
def bad_headers_as_invalid_lora() -> Iterator[None]:
    """Raise `InvalidLora` where the header of a LoRA's file is not valid, with the same words."""
    try:
        yield
    except InvalidSafetensors as error:
        raise InvalidLora(str(error)) from None


def refuse_pickle(start: bytes) -> None:
    """Raise `InvalidLora` for a file of `torch.save`: unpickling runs whatever code it holds."""
    is_length = int.from_bytes(start[:LENGTH_BYTES], "little") <= MAX_HEADER_BYTES
    if start.startswith(_TORCH_MAGIC) and not is_length:
        raise InvalidLora("the file is a PyTorch pickle, which may run code; convert it to safetensors")


def _embedding_name(rest: str) -> str:
    """``cat`` of ``cat``, of ``cat.emb_params`` and of ``cat.string_to_param.*``."""
    if rest.endswith(_EMBEDDING_END):
        return rest.removesuffix(_EMBEDDING_END) or rest
    return rest.rpartition(".")[0] or rest


def _is_real(key: str, dtype: str) -> bool:
    return dtype in FLOAT_DTYPES or (key.endswith(".alpha") and dtype in _INTEGER_DTYPES)
