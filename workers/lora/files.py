"""Reads a LoRA file into changes of a model's weights, or says which keys do not fit and why."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from shared.errors import InvalidLora
from workers.lora.alphas import peft_config, scaling_of
from workers.lora.changes import Change
from workers.lora.deltas import Full
from workers.lora.kinds import BESIDE, describe, is_whole, norms
from workers.lora.names import Module, find_modules, group_keys

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
    groups = group_keys(tensors)
    _refuse("are no part of a LoRA for this model", tensors.keys() - _keys(groups.values()))
    _refuse(
        "lack their other half, or do not go together",
        _keys(roles for roles in groups.values() if not is_whole(roles.keys())),
    )
    parts: dict[str, dict[str, Change]] = defaultdict(dict)
    for module, target, keys in _places(groups, models):
        parts[module.part] |= _changes(module, target, keys, tensors, config[module.part])
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
    _refuse("hold no real numbers", (key for key, tensor in tensors.items() if not _is_real(key, tensor)))
    _refuse("hold NaN or infinity", (key for key, tensor in tensors.items() if not _is_finite(tensor)))
    return tensors, peft_config(header)


def _places(
    groups: Mapping[str, Mapping[str, str]], models: Mapping[str, nn.Module]
) -> Iterable[tuple[Module, nn.Module, Mapping[str, str]]]:
    """For each group its module's name and the module; each must be there, and no two the same."""
    try:
        modules = find_modules(groups, models)
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidLora(f"diffusers cannot read its names: {error}") from error
    found = {stem: _find(models.get(module.part), module) for stem, module in modules.items()}
    _refuse(
        "match no module of this model",
        _keys(roles for stem, roles in groups.items() if found.get(stem) is None),
    )
    taken: dict[Module, Mapping[str, str]] = {}
    for stem, place in found.items():
        assert place is not None
        module, target = place
        if module in taken:
            _refuse(f"all name {module.part}.{module.name}", _keys([taken[module], groups[stem]]))
        taken[module] = groups[stem]
        yield module, target, groups[stem]


def _find(model: nn.Module | None, module: Module) -> tuple[Module, nn.Module] | None:
    """transformers 5 dropped the level ``text_model`` that older files still name, and the reverse."""
    name = module.name
    for spelling in (name, name.removeprefix("text_model."), f"text_model.{name}"):
        try:
            target = model.get_submodule(spelling) if model is not None else None
        except AttributeError:
            continue
        if isinstance(target, nn.Linear | nn.Conv2d):
            return module._replace(name=spelling), target
    return None


def _changes(
    module: Module,
    target: nn.Module,
    keys: Mapping[str, str],
    file: Mapping[str, Tensor],
    config: Mapping[str, Any],
) -> dict[str, Change]:
    """What is done to a module's weight and bias; ``keys`` are those of its tensors, by their roles."""
    weight, bias = target.get_parameter("weight"), getattr(target, "bias", None)
    changes = {}
    scaling = 1.0
    core = {role: key for role, key in keys.items() if role not in BESIDE}
    if core:
        described = describe({role: file[key] for role, key in core.items()}, weight.shape)
        if described is None:
            _refuse_shapes(core.values(), file, f"its module {tuple(weight.shape)}")
        if described.rank is not None:
            alpha = file[keys["alpha"]] if "alpha" in keys else None
            scaling = scaling_of(config, module.name, described.rank, alpha)
        magnitude = _magnitude(weight, keys, file)
        changes[f"{module.name}.weight"] = Change(described.delta, scaling, magnitude)
    for role, factor in (("b_bias", scaling), ("diff_b", 1.0)):
        if role in keys:
            trained = file[keys[role]]
            if bias is None or trained.shape != bias.shape:
                _refuse_shapes([keys[role]], file, f"the bias of {module.name} another, or there is none")
            delta = Full(trained.to(torch.float32, copy=True).reshape(-1, 1))
            changes[f"{module.name}.bias"] = Change(delta, factor)
    return changes


def _magnitude(weight: Tensor, keys: Mapping[str, str], file: Mapping[str, Tensor]) -> Tensor | None:
    """The norms that DoRA has trained, if it has."""
    for role in ("magnitude", "dora_scale"):
        if role in keys:
            found = norms(role, file[keys[role]], weight.shape)
            if found is None:
                _refuse_shapes([keys[role]], file, f"DoRA norms rows or inputs of {tuple(weight.shape)}")
            return found
    return None


def _refuse_shapes(keys: Iterable[str], file: Mapping[str, Tensor], expected: str) -> NoReturn:
    shapes = ", ".join(f"{key} has the shape {tuple(file[key].shape)}" for key in keys)
    raise InvalidLora(f"{shapes}; {expected}")


def _is_real(key: str, tensor: Tensor) -> bool:
    """An alpha may be an integer: trainers write what they were given."""
    return tensor.is_floating_point() or (key.endswith(".alpha") and not tensor.is_complex())


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.float()).all())


def _keys(groups: Iterable[Mapping[str, str]]) -> set[str]:
    return {key for roles in groups for key in roles.values()}


def _refuse(why: str, keys: Iterable[str]) -> None:
    """Raise `InvalidLora` that names the first few of ``keys``, if there are any."""
    bad = sorted(keys)
    if bad:
        more = f" and {len(bad) - _NAMED_KEYS} more" if len(bad) > _NAMED_KEYS else ""
        raise InvalidLora(f"keys that {why}: {', '.join(bad[:_NAMED_KEYS])}{more}")
