"""The loop that the stages share, and the start the VAE needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import Parameter

from infra.emoji.training.data.canvas import flat
from infra.emoji.training.data.latents import to_tensor
from infra.emoji.training.models.vae_start import initialise_vae
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


def test_the_crafted_start_already_shows_the_colours() -> None:
    torch.manual_seed(0)
    colours = np.random.default_rng(0).integers(0, 256, (8, 3)).tolist()
    x = to_tensor(flat((red, green, blue), 32) for red, green, blue in colours)
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False,
    )
    before = _error(vae, x)
    initialise_vae(vae, x)
    assert _error(vae, x) < 0.1 < 0.3 < before


@torch.no_grad()
def _error(vae: AutoencoderKL, x: Tensor) -> float:
    return float((vae.decode(vae.encode(x).latent_dist.mean).sample - x).abs().mean())
