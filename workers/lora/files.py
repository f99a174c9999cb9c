"""Reads a LoRA file into low-rank products that fit a model, or says which keys do not."""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Size, Tensor, nn

from shared.errors import InvalidLora
from workers.lora.names import Half, alpha_key, find_halves

#: What we cannot draw right yet, by the words in its keys.
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon with a middle factor",
}
_LORA_BIAS = re.compile(r"lora.*\.bias$|\.diff_b$")
_METADATA = "lora_adapter_metadata"
#: Enough to see the pattern of what does not fit.
_NAMED_KEYS = 5


class LowRank(NamedTuple):
    """One module's change, ``scaling * b @ a``, in float32; convolutions are flattened to matrices."""

    a: Tensor  # (r, in * kh * kw)
    b: Tensor  # (out, r)
    scaling: float


@dataclass(frozen=True)
class LoraWeights:
    """A parsed file: for each part of the model, module names and their changes."""

    sha256: str
    unet: dict[str, LowRank]
    text_encoder: dict[str, LowRank]


def read_lora(path: Path, unet: nn.Module, text_encoder: nn.Module | None) -> LoraWeights:
    """Parse a safetensors file; raises `InvalidLora` unless every tensor in it can be used."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    tensors, metadata = _load(path)
    _refuse_other_kinds(tensors)
    halves = _find_halves(tensors, unet)
    _refuse(
        "is no part of a LoRA of this model",
        tensors.keys() - halves.keys() - {alpha_key(key) for key in halves},
    )
    models: dict[str, nn.Module | None] = {"unet": unet, "text_encoder": text_encoder}
    parts: dict[str, dict[str, LowRank]] = {part: {} for part in models}
    for part, name, weight, key_a, key_b in _pair_up(halves, models):
        parts[part][name] = _low_rank(tensors, metadata.get(part, {}), key_a, key_b, name, weight)
    return LoraWeights(sha256, **parts)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """The tensors, and PEFT's configuration of each part where the file carries one."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
    except SafetensorError as error:
        raise InvalidLora(f"not a safetensors file: {error}") from None
    if not tensors:
        raise InvalidLora("the file holds no tensors")
    _refuse("holds no real numbers", (key for key, tensor in tensors.items() if not tensor.is_floating_point()))
    _refuse("holds NaN or infinity", (key for key, tensor in tensors.items() if not _is_finite(tensor)))
    return tensors, _peft_config(header)


def _peft_config(header: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """``{"unet.r": 4, ...}`` by part, as diffusers writes it."""
    try:
        flat = json.loads(header.get(_METADATA) or "{}")
    except ValueError:
        flat = None
    if not isinstance(flat, dict):
        raise InvalidLora(f"its header's {_METADATA} is no JSON object")
    config: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in flat.items():
        part, _, option = key.partition(".")
        config[part][option] = value
    return config


def _refuse_other_kinds(tensors: Iterable[str]) -> None:
    for key in tensors:
        for word, kind in _OTHER_KINDS.items():
            if word in key:
                raise InvalidLora(f"it is a {kind}, which is not supported yet: {key}")
        if _LORA_BIAS.search(key):
            raise InvalidLora(f"it trains biases, which is not supported yet: {key}")


def _find_halves(tensors: dict[str, Tensor], unet: nn.Module) -> dict[str, Half]:
    try:
        return find_halves(tensors, getattr(unet, "config", None))
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidLora(f"diffusers cannot read its names: {error}") from error


def _pair_up(
    halves: Mapping[str, Half], models: Mapping[str, nn.Module | None]
) -> Iterable[tuple[str, str, Tensor, str, str]]:
    """Part, module name, its weight, and the keys of its two factors; every half must find its place."""
    found = {key: _find_weight(models.get(half.part), half.module) for key, half in halves.items()}
    _refuse("matches no module of this model", (key for key, place in found.items() if place is None))
    keys_at: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: {"A": [], "B": []})
    weights = {}
    for key, place in found.items():
        assert place is not None
        name, weight = place
        part, _, side = halves[key]
        weights[part, name] = weight
        keys_at[part, name][side].append(key)
    sides = [(keys["A"], keys["B"]) for keys in keys_at.values()]
    _refuse("lacks its other half", (key for a, b in sides if not (a and b) for key in a + b))
    _refuse("names a module twice", (key for a, b in sides if len(a + b) > 2 for key in a + b))
    for (part, name), keys in keys_at.items():
        yield part, name, weights[part, name], keys["A"][0], keys["B"][0]


def _find_weight(model: nn.Module | None, name: str) -> tuple[str, Tensor] | None:
    """transformers 5 dropped the level ``text_model`` that older files still name, and the reverse."""
    if model is None:
        return None
    for spelling in (name, name.removeprefix("text_model."), f"text_model.{name}"):
        try:
            module = model.get_submodule(spelling)
        except AttributeError:
            continue
        if isinstance(module, nn.Linear | nn.Conv2d):
            return spelling, module.weight
    return None


def _low_rank(
    tensors: dict[str, Tensor], config: Mapping[str, Any], key_a: str, key_b: str, name: str, weight: Tensor
) -> LowRank:
    a, b = tensors[key_a], tensors[key_b]
    rank = a.shape[0] if a.dim() else 0
    if rank < 1 or _core(a.shape) != _core((rank, *weight.shape[1:])):
        raise InvalidLora(f"{key_a} has shape {tuple(a.shape)}, its module {tuple(weight.shape)}")
    if _core(b.shape) != _core((weight.shape[0], rank)):
        raise InvalidLora(f"{key_b} has shape {tuple(b.shape)}, its module {tuple(weight.shape)}, rank {rank}")
    alpha = tensors.get(alpha_key(key_a), tensors.get(alpha_key(key_b)))
    return LowRank(
        a.reshape(rank, -1).float(),
        b.reshape(-1, rank).float(),
        _scaling(rank, alpha, config, name),
    )


def _scaling(rank: int, stored: Tensor | None, config: Mapping[str, Any], name: str) -> float:
    """alpha / r, or PEFT's rank-stabilised alpha / sqrt(r); without an alpha it is the rank."""
    if stored is None:
        alpha = _by_pattern(config.get("alpha_pattern") or {}, name, config.get("lora_alpha", rank))
    else:
        alpha = stored.item() if stored.numel() == 1 else None
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise InvalidLora(f"the alpha of {name} is no number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any], name: str, default: Any) -> Any:
    """PEFT takes the first pattern that is the end of a module's name."""
    for pattern, value in patterns.items():
        end = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not re.fullmatch(r"[\w.]+", end):
            # A stranger's regular expression can be made to run for hours.
            raise InvalidLora(f"alpha_pattern: {pattern!r} is no module name")
        end = end.removeprefix("text_model.")
        bare = name.removeprefix("text_model.")
        if bare == end or (bare.endswith("." + end) and not pattern.startswith("^")):
            return value
    return default


def _core(shape: Size | tuple[int, ...]) -> tuple[int, ...]:
    """A shape as (rows, columns, kernel): 1×1 convolutions are stored with and without their ones."""
    dims = list(shape)
    while len(dims) > 2 and dims[-1] == 1:
        dims.pop()
    return tuple(dims)


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.float()).all())


def _refuse(why: str, keys: Iterable[str]) -> None:
    """Raise `InvalidLora` that names the first few of ``keys``, if there are any."""
    bad = sorted(keys)
    if bad:
        more = f" and {len(bad) - _NAMED_KEYS} more" if len(bad) > _NAMED_KEYS else ""
        raise InvalidLora(f"LoRA: {', '.join(bad[:_NAMED_KEYS])}{more}: {why}")
