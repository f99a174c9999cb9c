from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from infra.emoji.training.stages.loop import Group, Plan, minimise, rate

PLAN = Plan(steps=100, batch=1, learning_rate=0.1, warmup_steps=10, hold=0.5, average=0.9)


def test_the_rate_ramps_up_holds_and_ends_at_zero() -> None:
    rates = [rate(PLAN, step) for step in range(PLAN.steps + 1)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[10:50] == pytest.approx([0.1] * 40)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[75] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_a_scaled_plan_has_fewer_steps_but_never_less_than_two() -> None:
    assert PLAN.scaled(0.5).steps == 50
    assert PLAN.scaled(0.0001).steps == 2
    assert replace(PLAN, steps=50) == PLAN.scaled(0.5)


def test_the_loop_finds_a_minimum_and_a_seed_reproduces_it() -> None:
    def learnt() -> Tensor:
        torch.manual_seed(0)
        weight = Parameter(torch.zeros(3))
        wanted = torch.tensor([1.0, -1.0, 0.5])
        minimise(
            lambda: ((weight - wanted + 0.01 * torch.randn(3)) ** 2).sum(),
            [Group([weight])],
            PLAN,
            title="test",
        )
        return weight.detach()

    first = learnt()
    assert torch.allclose(first, torch.tensor([1.0, -1.0, 0.5]), atol=0.1)
    assert torch.equal(first, learnt())
