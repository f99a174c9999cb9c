"""A family may say that a file trains several of the model's modules as one, or rows in another order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.errors import InvalidLora
from tests.workers.lora.patchers import WRITERS
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher
from workers.lora.targets import FileRows, LoraTarget

WIDTH = 4


@dataclass(frozen=True)
class FusedTargets:
    """The model has ``q``, ``k`` and ``v`` where files have ``qkv``."""

    parts: Mapping[str, nn.Module]

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget]]:
        for stem in groups:
            for i, name in enumerate("qkv"):
                rows = FileRows((slice(i * WIDTH, (i + 1) * WIDTH),), 3 * WIDTH)
                yield stem, LoraTarget("transformer", name, rows)


@dataclass(frozen=True)
class SwappedTargets:
    """The rows of ``q`` in a file are shift and scale, those of the model are scale and shift."""

    parts: Mapping[str, nn.Module]

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget]]:
        halves = FileRows((slice(WIDTH // 2, WIDTH), slice(0, WIDTH // 2)), WIDTH)
        yield from ((stem, LoraTarget("transformer", "q", halves)) for stem in groups)


def make_model() -> Any:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in "qkv"})


def fused(**more: Tensor) -> dict[str, Tensor]:
    tensors = {"lora_down.weight": torch.randn(2, WIDTH), "lora_up.weight": torch.randn(3 * WIDTH, 2)}
    return {f"lora_transformer_qkv.{key}": tensor for key, tensor in {**tensors, **more}.items()}


def test_each_module_gets_its_rows_of_a_fused_projection(write: Callable[..., Path]) -> None:
    model = make_model()
    before = torch.cat([model[name].weight for name in "qkv"]).detach().clone()
    tensors = fused(alpha=torch.tensor(1.0))
    lora = read_lora(write(tensors), FusedTargets({"transformer": model}))
    Patcher({"transformer": model}).apply([(lora, 0.5)])
    after = torch.cat([model[name].weight for name in "qkv"])
    up, down = (tensors[f"lora_transformer_qkv.lora_{side}.weight"] for side in ("up", "down"))
    assert torch.allclose(after, before + 0.5 * (1 / 2) * up @ down, atol=1e-6)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("shape", [(3, 1), (1, 2), (6, 4), (4, 4)], ids=str)
def test_a_kronecker_product_is_computed_whole_and_each_module_takes_its_rows(
    write: Callable[..., Path], writer: str, shape: tuple[int, int]
) -> None:
    model = make_model()
    before = torch.cat([model[name].weight for name in "qkv"]).detach().clone()
    w1, w2 = torch.randn(shape), torch.randn(3 * WIDTH // shape[0], WIDTH // shape[1])
    tensors = {"lora_transformer_qkv.lokr_w1": w1, "lora_transformer_qkv.lokr_w2": w2}
    patcher = WRITERS[writer]({"transformer": model})
    patcher.apply([(read_lora(write(tensors), FusedTargets({"transformer": model})), 0.5)])
    after = torch.cat([model[name].weight for name in "qkv"])
    assert torch.allclose(after, before + 0.5 * torch.kron(w1, w2), atol=1e-6)
    patcher.restore()
    assert torch.equal(torch.cat([model[name].weight for name in "qkv"]), before)


def hadamard(rank: int = 2) -> dict[str, Tensor]:
    ends = {"a": (WIDTH, rank), "b": (rank, WIDTH)}
    return {f"q.hada_w{i}_{end}": torch.randn(shape) for i in (1, 2) for end, shape in ends.items()}


@pytest.mark.parametrize("kind", ["low rank", "hadamard", "difference"])
def test_swapped_halves_are_swapped_back(write: Callable[..., Path], kind: str) -> None:
    model = make_model()
    before = model["q"].weight.detach().clone()
    bias = torch.randn(WIDTH)
    if kind == "low rank":
        tensors = {"q.lora_down.weight": torch.randn(2, WIDTH), "q.lora_up.weight": torch.randn(WIDTH, 2)}
        change = tensors["q.lora_up.weight"] @ tensors["q.lora_down.weight"]
    elif kind == "hadamard":
        tensors = hadamard()
        w1a, w1b, w2a, w2b = tensors.values()
        change = (w1a @ w1b) * (w2a @ w2b)
    else:
        tensors = {"q.diff": torch.randn(WIDTH, WIDTH)}
        change = tensors["q.diff"]
    lora = read_lora(write({**tensors, "q.diff_b": bias}), SwappedTargets({"transformer": model}))
    old_bias = model["q"].bias.detach().clone()
    Patcher({"transformer": model}).apply([(lora, 1.0)])
    half = WIDTH // 2
    assert torch.allclose(model["q"].weight, before + torch.cat([change[half:], change[:half]]), atol=1e-6)
    assert torch.allclose(model["q"].bias, old_bias + torch.cat([bias[half:], bias[:half]]), atol=1e-6)


def test_dora_of_a_fused_projection_is_of_each_row(write: Callable[..., Path]) -> None:
    model = make_model()
    before = torch.cat([model[name].weight for name in "qkv"]).detach().clone()
    magnitude = torch.rand(3 * WIDTH, 1) + 0.5
    tensors = fused(dora_scale=magnitude)
    lora = read_lora(write(tensors), FusedTargets({"transformer": model}))
    Patcher({"transformer": model}).apply([(lora, 1.0)])
    up, down = (tensors[f"lora_transformer_qkv.lora_{side}.weight"] for side in ("up", "down"))
    summed = before + up @ down
    expected = summed * magnitude / summed.norm(dim=1, keepdim=True)
    assert torch.allclose(torch.cat([model[name].weight for name in "qkv"]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("lora_up.weight", (3 * WIDTH + 1, 2)),
        ("lora_up.weight", ()),
        ("dora_scale", (1, WIDTH)),
        ("diff_b", (WIDTH,)),
    ],
    ids=str,
)
def test_rows_that_are_not_those_of_the_modules_are_refused_by_their_key(
    write: Callable[..., Path], key: str, shape: tuple[int, ...]
) -> None:
    tensors = {**fused(), f"lora_transformer_qkv.{key}": torch.ones(shape)}
    with pytest.raises(InvalidLora, match=rf"lora_transformer_qkv.{key} has the shape"):
        read_lora(write(tensors), FusedTargets({"transformer": make_model()}))


def test_a_product_of_other_rows_is_refused_by_its_keys(write: Callable[..., Path]) -> None:
    stem = "lora_transformer_qkv"
    tensors = {f"{stem}.lokr_w1": torch.ones(2, 1), f"{stem}.lokr_w2": torch.ones(WIDTH, WIDTH)}
    with pytest.raises(InvalidLora, match=rf"{stem}.lokr_w1.*its module \(12, 4\)"):
        read_lora(write(tensors), FusedTargets({"transformer": make_model()}))
