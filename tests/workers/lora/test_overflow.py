"""A LoRA that leaves NaN or infinity in weights is refused, and the base's weights come back to the bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from shared.errors import NonFiniteWeights
from tests.workers.lora.conftest import parts, weights_of
from workers.devices.selection import find_device
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora
from workers.lora.lora_weights import LoraWeights
from workers.lora.overflow import check_finite, may_overflow
from workers.lora.patch import Patcher
from workers.lora.weight_delta import WeightDelta


def spoiled(tensors: dict[str, Tensor], role: str, factor: float) -> dict[str, Tensor]:
    """The LoRA with one factor of the UNet's multiplied."""
    name = next(name for name in tensors if name.startswith("unet") and role in name)
    return tensors | {name: tensors[name].float() * factor}


@pytest.mark.parametrize("factor", [3e36, -3e36])
@pytest.mark.parametrize("role", ["lora_A", "lora_B"])
def test_a_lora_that_overflows_is_refused_and_leaves_nothing(
    pipe: StableDiffusionPipeline,
    tensors: dict[str, Tensor],
    write: Callable[..., Path],
    role: str,
    factor: float,
) -> None:
    patcher = Patcher(parts(pipe))
    base = {name: weight.clone() for name, weight in weights_of(parts(pipe)).items()}
    lora = read_lora(write(spoiled(tensors, role, factor)), UNetLoraTargets(parts(pipe)))
    try:
        with pytest.raises(NonFiniteWeights, match=r"unet\.") as caught:
            patcher.apply([(lora, 1e6)])
        assert len(caught.value.weights) == 1
    finally:
        patcher.restore()
    now = weights_of(parts(pipe))
    assert all(torch.equal(now[name], weight) for name, weight in base.items())


def test_a_sum_that_float16_cannot_hold_is_found() -> None:
    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 8, bias=False, dtype=torch.float16).requires_grad_(False)

    patcher = Patcher({"unet": Half()})

    def lora(reach: float) -> LoraWeights:
        tensors = {"a": torch.full((1, 8), reach), "b": torch.ones(8, 1)}
        change = WeightDelta(tensors, torch.Size([8, 8]), 1.0)
        return LoraWeights(str(reach), {"unet": {"layer.weight": change}})

    assert patcher.apply([(lora(6e4), 1.0)])
    with pytest.raises(NonFiniteWeights, match=r"1 weights are NaN or infinite, such as unet\.layer\.weight"):
        patcher.apply([(lora(7e4), 1.0)])
    assert patcher.apply([(lora(6e4), 1.0)])


HUGE = torch.full((4, 4), 1e30)
ONES = torch.ones(4, 4)
SHAPE = torch.Size([4, 4])


def low_rank(a: Tensor, b: Tensor, **more: Tensor) -> WeightDelta:
    return WeightDelta({"a": a, "b": b}, torch.Size([len(b), a.shape[1]]), 1.0, **more)


@pytest.mark.parametrize(
    "change",
    [
        low_rank(HUGE, HUGE),
        WeightDelta(
            {"hada_w1_a": ONES, "hada_w1_b": HUGE, "hada_w2_a": ONES, "hada_w2_b": HUGE},
            SHAPE,
            1.0,
        ),
        WeightDelta({"lokr_w1": HUGE, "lokr_w2": HUGE}, torch.Size([16, 16]), 1.0),
        WeightDelta({"diff": HUGE * 1e30}, SHAPE, 1.0),
        WeightDelta({"diff": ONES}, SHAPE, 1e30 * 1e30),
        low_rank(ONES, ONES, magnitude=torch.full((4, 1), float("inf"))),
        low_rank(torch.zeros(4, 4), ONES, magnitude=torch.full((4, 1), float("nan"))),
    ],
)
def test_every_kind_of_change_is_looked_at_where_it_may_overflow(change: WeightDelta) -> None:
    broken, whole = torch.tensor([[1.0, float("nan")]]), torch.tensor([[1.0, 2.0]])
    terms = {("unet", "a"): [(change, 1.0)], ("unet", "b"): [(change, 1.0)]}
    weights = {("unet", "a"): broken, ("unet", "b"): whole}
    check = check_finite(find_device("cpu"), {key: weights[key] for key in may_overflow(terms)})
    assert check.overflows() == [("unet", "a")]


def test_weights_that_a_usual_change_cannot_spoil_are_not_read_again() -> None:
    usual = low_rank(torch.randn(16, 64) * 0.05, torch.randn(64, 16) * 0.05)
    assert may_overflow({("unet", "a"): [(usual, 1.0), (usual, -2.0)]}) == []
