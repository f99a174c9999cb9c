"""A family may say that a file trains several of the model's modules as one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from shared.errors import InvalidLora
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher
from workers.lora.targets import LoraTarget

WIDTH = 4


@dataclass(frozen=True)
class FusedTargets:
    """The model has ``q``, ``k`` and ``v`` where files have ``qkv``."""

    parts: Mapping[str, nn.Module]

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget]]:
        for stem in groups:
            for i, name in enumerate("qkv"):
                yield stem, LoraTarget("transformer", name, slice(i * WIDTH, (i + 1) * WIDTH))


def make_model() -> nn.Module:
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


def test_a_kind_that_cannot_be_divided_is_refused_by_its_keys(write: Callable[..., Path]) -> None:
    stem = "lora_transformer_qkv"
    tensors = {f"{stem}.lokr_w1": torch.ones(3, 1), f"{stem}.lokr_w2": torch.ones(WIDTH, WIDTH)}
    with pytest.raises(InvalidLora, match=r"cannot be divided: .*lokr_w1"):
        read_lora(write(tensors), FusedTargets({"transformer": make_model()}))
