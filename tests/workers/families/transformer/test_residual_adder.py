"""What a transformer's blocks are given of ControlNets, and when it is asked for."""

from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import ControlNetFailed
from shared.families.controlnets import ControlPlan
from workers.families.staged_forward import run_to_end
from workers.families.transformer.residual_adder import ResidualAdder

X = torch.zeros(1, 2, 3)


def forward(
    plan: ControlPlan | None, log: list[str], blocks: int = 4
) -> Generator[int, Tensor | None, Tensor]:
    """Blocks that change nothing."""
    adder, x = ResidualAdder(plan, blocks), X
    for block in range(blocks):
        log.append(f"block {block}")
        x = yield from adder.add(block, x)
    return x


def run(plan: ControlPlan | None, log: list[str], blocks: int = 4) -> Tensor:
    """Residual ``i`` is all ``10 ** i``."""

    def residual(index: int) -> Tensor:
        log.append(f"residual {index}")
        return torch.full_like(X, 10.0**index)

    started = forward(plan, log, blocks)
    return run_to_end(started, next(started), None if plan is None else residual)


def _all(value: float) -> list[Any]:
    return torch.full_like(X, value).tolist()


def test_a_residual_is_asked_for_once_however_many_blocks_share_it() -> None:
    log: list[str] = []
    assert run(ControlPlan((0, 0, 1, 1)), log).tolist() == _all(22.0)
    assert log == ["block 0", "residual 0", "block 1", "block 2", "residual 1", "block 3"]


def test_a_residual_that_comes_round_again_is_kept_until_its_last_block() -> None:
    log: list[str] = []
    assert run(ControlPlan((0, 1, 0, 1)), log).tolist() == _all(22.0)
    assert [entry for entry in log if "residual" in entry] == ["residual 0", "residual 1"]


def test_blocks_without_a_residual_add_none() -> None:
    log: list[str] = []
    assert run(ControlPlan((0, None, None, 1)), log).tolist() == _all(11.0)


def test_a_forward_that_nothing_guides_asks_once_and_adds_nothing() -> None:
    log: list[str] = []
    assert run(None, log).tolist() == _all(0.0)
    assert log == ["block 0", "block 1", "block 2", "block 3"]
    assert next(forward(None, [])) == 0


def test_a_residual_is_let_go_of_after_its_last_block() -> None:
    adder = ResidualAdder(ControlPlan((0, 0, 1)), 3)
    asked = adder.add(0, X)
    next(asked)
    with pytest.raises(StopIteration):
        asked.send(X)
    assert adder.kept == frozenset({0})
    with pytest.raises(StopIteration):
        next(adder.add(1, X))
    assert adder.kept == frozenset()


@pytest.mark.parametrize("places", [(0, 0, 1), (None,) * 4])
def test_a_plan_that_is_not_of_this_model_is_refused(places: tuple[int | None, ...]) -> None:
    with pytest.raises(ControlNetFailed, match="describes none for this model"):
        ResidualAdder(ControlPlan(places), 4)


def test_a_residual_of_another_size_is_refused() -> None:
    asked = ResidualAdder(ControlPlan((0,)), 1).add(0, X)
    next(asked)
    with pytest.raises(ControlNetFailed, match=r"shape \(1, 5, 3\) do not fit"):
        asked.send(torch.zeros(1, 5, 3))
