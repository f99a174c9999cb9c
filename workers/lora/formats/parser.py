"""Parses a LoRA file into deltas of a model's weights, or says which keys do not fit and why."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from shared.errors import InvalidLora
from shared.storage.lora_header import (
    bad_headers_as_invalid_lora,
    inspect_lora,
    refuse_keys,
    split_embeddings,
)
from shared.storage.safetensors_header import read_header
from workers.lora.formats.alphas import AdapterConfig, peft_configs, refuse_some_alphas
from workers.lora.formats.formats import EXTRA_ROLES, build_matrix, dora_norms, is_complete
from workers.lora.formats.key_mapping import group_keys
from workers.lora.formats.parse_errors import parse_errors_as_invalid
from workers.lora.formats.tensor_file import hash_file, open_tensors, refuse_non_finite
from workers.lora.lora_weights import LoraWeights
from workers.lora.targets import LEFT_OUT, LoraTarget, LoraTargets
from workers.lora.weight_delta import WeightDelta, matrix_shape

#: Roles of tensors that are added to a bias.
_BIAS_ROLES = ("b_bias", "diff_b")
#: Roles of tensors whose rows are those of what they change.
_ROWS = {"b", "b_bias", "diff", "diff_b", "magnitude", "dora_scale"}
#: How the others begin that together make up all rows: of their product a weight takes its own.
_PRODUCTS = ("hada_", "lokr_")


def read_lora(
    path: Path,
    targets: LoraTargets,
    *,
    sha256: str | None = None,
    check: Callable[[], None] = lambda: None,
    reserve: Callable[[int], None] = lambda size_bytes: None,
    allocate: Callable[[int], Tensor] | None = None,
) -> LoraWeights:
    """Parse a safetensors file for a model, of which ``targets`` finds the modules.

    ``sha256``: of a file whose bytes were hashed as they arrived; None: they are hashed now. ``check`` is
    called often, and raises when nobody wants the LoRA any more. ``reserve`` is called
    with the bytes that the LoRA will take, before it takes them. ``allocate`` returns so many bytes of
    memory from which a device copies; None: each tensor has memory of its own, which the allocator has at
    hand again when another LoRA is gone. Raises `InvalidLora` unless every tensor in the file can be used,
    but for embeddings, and for modules that `LoraTargets.find` leaves out.
    """
    sha256 = sha256 or hash_file(path, check)
    with parse_errors_as_invalid(), bad_headers_as_invalid_lora():
        header = read_header(path)
        info = inspect_lora(header.tensors, header.metadata)
        _, stored = split_embeddings(header.tensors)
        groups = _group(stored)
        found = list(targets.find(groups))
        matches = list(_match_modules(groups, found, targets.parts, check))
        reserve(sum(tensor.size_bytes for tensor in stored.values()))
        with open_tensors(path) as (tensor, metadata):
            tensors = {key: tensor(key) for key in stored}  # views of the file
            refuse_non_finite(tensors, check)
            configs = peft_configs(metadata)
            refuse_some_alphas([(target.part, keys) for target, _, keys in matches], tensors, configs)
            parts: dict[str, dict[str, WeightDelta]] = defaultdict(dict)
            for target, module, keys in matches:
                check()
                read = {role: tensors[key] for role, key in keys.items()}
                with parse_errors_as_invalid(keys.values()):
                    own = _rows_of(target, keys, read)
                    parts[target.part] |= _deltas(target, module, keys, own, configs[target.part])
            # Copies: a tensor of the file is a view of the file, which may be evicted after this.
            unread = [stem for stem, target in found if target is LEFT_OUT]
            left_out = tuple(stem for stem in unread if _is_change(groups[stem], tensors))
            weights = LoraWeights(sha256, parts, info.embeddings, left_out)
            return weights.copy() if allocate is None else weights.pack(allocate)


def _group(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """The keys of each module by their roles; refuses keys without a role and incomplete modules."""
    keys = sorted(keys)
    groups = group_keys(keys)
    refuse_keys("are no part of a LoRA for this model", set(keys) - _keys(groups.values()))
    refuse_keys(
        "lack their other half, or do not go together",
        _keys(roles for roles in groups.values() if not is_complete(roles.keys())),
    )
    return groups


def _match_modules(
    groups: Mapping[str, Mapping[str, str]],
    targets: Iterable[tuple[str, LoraTarget | None]],
    models: Mapping[str, nn.Module],
    check: Callable[[], None],
) -> Iterable[tuple[LoraTarget, nn.Module, Mapping[str, str]]]:
    """For each group its targets and their modules; each must be there, and no two the same."""
    found: dict[str, list[tuple[LoraTarget, nn.Module] | None]] = defaultdict(list)
    for stem, target in targets:
        check()
        places = found[stem]
        if target is not None and target is not LEFT_OUT:
            places.append(_find(models.get(target.part), target))
    refuse_keys(
        "match no module of this model",
        _keys(roles for stem, roles in groups.items() if None in found.get(stem, [None])),
    )
    taken: dict[tuple[str, str], Mapping[str, str]] = {}
    for stem, places in found.items():
        for place in places:
            assert place is not None
            target, module = place
            known = taken.setdefault((target.part, target.name), groups[stem])
            if known is not groups[stem]:
                refuse_keys(f"all name {target.part}.{target.name}", _keys([known, groups[stem]]))
            yield target, module, groups[stem]


def _find(model: nn.Module | None, target: LoraTarget) -> tuple[LoraTarget, nn.Module] | None:
    """transformers 5 dropped the level ``text_model`` that older files still name, and the reverse."""
    name = target.name
    for spelling in (name, name.removeprefix("text_model."), f"text_model.{name}"):
        try:
            module = model.get_submodule(spelling) if model is not None else None
        except AttributeError:
            continue
        if module is not None and isinstance(getattr(module, "weight", None), nn.Parameter):
            return target._replace(name=spelling), module
    return None


def _is_change(keys: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bool:
    """Whether a group changes anything: a product with a factor of zeros does not."""
    return all(bool(tensors[key].float().any()) for key in keys.values())


def _rows_of(target: LoraTarget, keys: Mapping[str, str], read: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a group as far as they are about ``target``: some rows of what they change."""
    if target.rows is None:
        return dict(read)
    pieces, total = target.rows
    own = dict(read)
    for role in _ROWS & read.keys():
        tensor = read[role]
        if not tensor.shape or len(tensor) != total:
            _refuse_shapes({keys[role]: tensor}, f"{target.name} has some of {total} rows")
        rows = [tensor[piece] for piece in pieces]
        own[role] = rows[0] if len(rows) == 1 else torch.cat(rows)
    return own


def _deltas(
    target: LoraTarget,
    module: nn.Module,
    keys: Mapping[str, str],
    read: Mapping[str, Tensor],
    config: AdapterConfig,
) -> dict[str, WeightDelta]:
    """What is done to a module's weight and bias by the tensors that were ``read``, by their roles."""
    shape = module.get_parameter("weight").shape
    bias = getattr(module, "bias", None)
    deltas = {}
    scaling = 1.0
    core = {role: tensor for role, tensor in read.items() if role not in EXTRA_ROLES}
    rows = target.rows if any(role.startswith(_PRODUCTS) for role in core) else None
    if "alpha" in read and read["alpha"].numel() != 1:
        _refuse_shapes({keys["alpha"]: read["alpha"]}, "an alpha is one number")
    if core:
        whole = matrix_shape(shape, rows)
        ranked = build_matrix({role: tensor.to("meta") for role, tensor in core.items()}, whole)
        if ranked is None:
            _refuse_shapes(
                {keys[role]: tensor for role, tensor in core.items()}, f"its module {tuple(whole)}"
            )
        if ranked.rank is not None:
            scaling = config.scaling(keys.get("alpha", target.name), ranked.rank, read.get("alpha"))
        deltas[f"{target.name}.weight"] = WeightDelta(
            core, shape, scaling, _magnitude(shape, keys, read), rows
        )
    for role in _BIAS_ROLES:
        if role in read:
            trained = read[role]
            if bias is None or trained.shape != bias.shape:
                expected = f"the bias of {target.name} another, or there is none"
                _refuse_shapes({keys[role]: trained}, expected)
            factor = scaling if role == "b_bias" else 1.0
            deltas[f"{target.name}.bias"] = WeightDelta({"diff": trained}, bias.shape, factor)
    return deltas


def _magnitude(shape: torch.Size, keys: Mapping[str, str], read: Mapping[str, Tensor]) -> Tensor | None:
    """The norms that DoRA trains; None without DoRA."""
    for role in ("magnitude", "dora_scale"):
        if role in read:
            found = dora_norms(role, read[role], shape)
            if found is None:
                _refuse_shapes({keys[role]: read[role]}, f"DoRA norms rows or inputs of {tuple(shape)}")
            return found
    return None


def _refuse_shapes(tensors: Mapping[str, Tensor], expected: str) -> NoReturn:
    shapes = ", ".join(f"{key} has the shape {tuple(tensor.shape)}" for key, tensor in tensors.items())
    raise InvalidLora(f"{shapes}; {expected}")


def _keys(groups: Iterable[Mapping[str, str]]) -> set[str]:
    return {key for roles in groups for key in roles.values()}
