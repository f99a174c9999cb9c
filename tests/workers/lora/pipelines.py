"""A pipeline's weights with a LoRA: what diffusers makes of them, and what we do."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.workers.lora.conftest import weights_of
from tests.workers.lora.patchers import WRITERS
from workers.lora.formats.matrices import ScratchBuffers
from workers.lora.formats.parser import read_lora
from workers.lora.lora_weights import LoraWeights
from workers.lora.targets import LoraTargets

MakeTargets = Callable[[Mapping[str, nn.Module]], LoraTargets]
#: Rows and columns of modules by name.
Shapes = Mapping[str, tuple[int, int]]
RANK, ALPHA = 4, 3.0
_SCRATCH = ScratchBuffers()


def by_diffusers(pipe: Any, path: Path, scale: float, parts: Sequence[str]) -> dict[str, Tensor]:
    """The weights that `load_lora_weights` and `fuse_lora` make."""
    copied = {
        name: copy.deepcopy(part) if isinstance(part, nn.Module) else part
        for name, part in pipe.components.items()
    }
    other = type(pipe)(**copied)
    with warnings.catch_warnings(action="ignore"):
        other.load_lora_weights(str(path), adapter_name="one")
        fused = [part for part in other._lora_loadable_modules if part in parts]
        other.fuse_lora(components=fused, lora_scale=scale, adapter_names=["one"])
        other.unload_lora_weights()
    return weights_of(parts_of(other, parts))


def by_us(
    pipe: Any, targets: MakeTargets, path: Path, scale: float, parts: Sequence[str], writer: str = "on a CPU"
) -> dict[str, Tensor]:
    """The weights that a patcher writes; they are put back, bit for bit."""
    models = parts_of(pipe, parts)
    before = weights_of(models)
    patcher = WRITERS[writer](models)
    try:
        patcher.apply([(read_lora(path, targets(models)), scale)])
        return weights_of(models)
    finally:
        patcher.restore()
        after = weights_of(models)
        assert all(torch.equal(after[name], before[name]) for name in before)


def check_equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> None:
    """Ours are theirs up to rounding, and the LoRA has changed the very weights that it changes there."""
    assert ours.keys() == theirs.keys()
    changed = [
        {name for name in base if not torch.equal(weights[name], base[name])} for weights in (ours, theirs)
    ]
    assert changed[0] ^ changed[1] == set()
    assert changed[0]
    wrong = [name for name in base if (ours[name] - theirs[name]).abs().max() > 2e-6]
    assert not wrong, wrong


def parts_of(pipe: Any, parts: Sequence[str]) -> dict[str, nn.Module]:
    return {part: getattr(pipe, part) for part in parts}


def linears(model: nn.Module, *words: str) -> dict[str, tuple[int, int]]:
    """Shapes of the linear layers whose names have one of ``words``; all of them without any."""
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (not words or any(word in name for word in words))
    }


def factors(shapes: Shapes, a: str, b: str, *, alpha: str = "", rank: int = RANK) -> dict[str, Tensor]:
    """Random factors of modules. ``a``, ``b`` and ``alpha`` end the keys; without ``alpha`` there is none."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (rows, columns) in shapes.items():
        tensors[f"{name}{a}"] = torch.randn(rank, columns, generator=generator) / columns**0.5
        tensors[f"{name}{b}"] = torch.randn(rows, rank, generator=generator) * 0.2
        if alpha:
            tensors[f"{name}{alpha}"] = torch.tensor(ALPHA)
    return tensors


def peft(shapes: Shapes, prefix: str, **options: Any) -> dict[str, Tensor]:
    """In PEFT's form."""
    return factors(_prefixed(shapes, prefix), ".lora_A.weight", ".lora_B.weight", **options)


def kohya(shapes: Shapes, prefix: str, **options: Any) -> dict[str, Tensor]:
    """In kohya's form, with underscores for dots."""
    flat = {name.replace(".", "_"): shape for name, shape in shapes.items()}
    return down_up(flat, prefix, **{"alpha": ".alpha", **options})


def down_up(shapes: Shapes, prefix: str, **options: Any) -> dict[str, Tensor]:
    """With kohya's words for the factors, and dots."""
    return factors(_prefixed(shapes, prefix), ".lora_down.weight", ".lora_up.weight", **options)


def changes(lora: LoraWeights, part: str = "transformer") -> dict[str, Tensor]:
    """What a LoRA adds to the weights of a model by itself, by name."""
    added = {}
    for name, delta in lora.parts[part].items():
        zeros = torch.zeros(delta.shape)
        delta.matrix().add_to(zeros.view(len(zeros), -1), slice(0, len(zeros)), delta.scaling, _SCRATCH)
        added[name] = zeros
    return added


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Write a file."""
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, path, metadata)
    return path


def _prefixed(shapes: Shapes, prefix: str) -> dict[str, tuple[int, int]]:
    return {prefix + name: shape for name, shape in shapes.items()}
