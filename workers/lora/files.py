"""Reads a LoRA file into low-rank products that fit a model, or says which keys do not."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Size, Tensor, nn

from shared.errors import InvalidLora
from workers.lora.alphas import peft_config, scaling_of
from workers.lora.changes import Change, LowRank
from workers.lora.names import Half, alpha_key, find_halves, find_lonely

#: Other ways to change weights, by the words in their keys.
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon with a middle factor",
}
_LORA_BIAS = re.compile(r"lora.*\.bias$|\.diff_b$")
#: Enough to see the pattern of what does not fit.
_NAMED_KEYS = 5


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """A parsed file: for each part of the model, its parameters by name and what is done to them."""

    sha256: str
    parts: Mapping[str, Mapping[str, Change]]

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(change.nbytes for changes in self.parts.values() for change in changes.values())

    def to(self, device: torch.device) -> "LoraWeights":
        """The same on another device."""
        if device.type == "cpu":
            return self  # as it was read
        moved = {
            part: {name: change.to(device) for name, change in changes.items()}
            for part, changes in self.parts.items()
        }
        return LoraWeights(self.sha256, moved)


def read_lora(path: Path, models: Mapping[str, nn.Module]) -> LoraWeights:
    """Parse a safetensors file for a model's parts, by name; one is ``unet``.

    Raises `InvalidLora` unless every tensor in it can be used.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    tensors, config = _load(path)
    _refuse_other_kinds(tensors)
    _refuse("lack their other half", find_lonely(tensors))
    halves = _find_halves(tensors, models["unet"])
    alphas = {alpha_key(key) for key in halves}
    _refuse("are no part of a LoRA for this model", tensors.keys() - halves.keys() - alphas)
    parts: dict[str, dict[str, Change]] = defaultdict(dict)
    for part, name, weight, key_a, key_b in _pair_up(halves, models):
        scaling = partial(scaling_of, config[part], name)
        parts[part][f"{name}.weight"] = _low_rank(tensors, key_a, key_b, weight, scaling)
    return LoraWeights(sha256, parts)


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
    _refuse(
        "hold no real numbers", (key for key, tensor in tensors.items() if not tensor.is_floating_point())
    )
    _refuse("hold NaN or infinity", (key for key, tensor in tensors.items() if not _is_finite(tensor)))
    return tensors, peft_config(header)


def _refuse_other_kinds(tensors: Iterable[str]) -> None:
    for key in tensors:
        for word, kind in _OTHER_KINDS.items():
            if word in key:
                raise InvalidLora(f"{kind} is not supported: {key}")
        if _LORA_BIAS.search(key):
            raise InvalidLora(f"trained biases are not supported: {key}")


def _find_halves(tensors: dict[str, Tensor], unet: nn.Module) -> dict[str, Half]:
    try:
        return find_halves(tensors, getattr(unet, "config", None))
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidLora(f"diffusers cannot read its names: {error}") from error


def _pair_up(
    halves: Mapping[str, Half], models: Mapping[str, nn.Module]
) -> Iterable[tuple[str, str, Tensor, str, str]]:
    """Part, module name, its weight, and the keys of its two factors; every half must find its place."""
    found = {key: _find_weight(models.get(half.part), half.module) for key, half in halves.items()}
    _refuse("match no module of this model", (key for key, place in found.items() if place is None))
    keys_at: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: {"A": [], "B": []})
    weights = {}
    for key, place in found.items():
        assert place is not None
        name, weight = place
        part, _, side = halves[key]
        weights[part, name] = weight
        keys_at[part, name][side].append(key)
    for (part, name), keys in keys_at.items():
        if (len(keys["A"]), len(keys["B"])) != (1, 1):
            _refuse(f"all name {part}.{name}", keys["A"] + keys["B"])
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
    tensors: Mapping[str, Tensor],
    key_a: str,
    key_b: str,
    weight: Tensor,
    scaling: Callable[[int, Tensor | None], float],
) -> Change:
    a, b = tensors[key_a], tensors[key_b]
    rank = a.shape[0] if a.dim() else 0
    if rank < 1 or _core(a.shape) != _core((rank, *weight.shape[1:])):
        raise InvalidLora(f"{key_a} has shape {tuple(a.shape)}, its module {tuple(weight.shape)}")
    if _core(b.shape) != _core((weight.shape[0], rank)):
        raise InvalidLora(
            f"{key_b} has shape {tuple(b.shape)}, its module {tuple(weight.shape)}, rank {rank}"
        )
    alpha = tensors.get(alpha_key(key_a), tensors.get(alpha_key(key_b)))
    # Copies: a tensor of the file is a view of the file, which may be evicted after this.
    delta = LowRank(
        a.reshape(rank, -1).to(torch.float32, copy=True), b.reshape(-1, rank).to(torch.float32, copy=True)
    )
    return Change(delta, scaling(rank, alpha))


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
        raise InvalidLora(f"keys that {why}: {', '.join(bad[:_NAMED_KEYS])}{more}")
