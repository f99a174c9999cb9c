"""Guidance of Stable Diffusion 3 on two workers: as of UNets, only rounding tells it from one batch."""

from typing import Any

import numpy as np
import pytest
from redis import Redis

from shared.jobs.options import LoraLoading
from tests.workers.families.transformer.two_workers import two_workers
from tests.workers.families.transformer.world import TransformerWorld

STEPS = 8


@pytest.mark.parametrize("world", ["float32"], indirect=True)  # in others rounding shows
@pytest.mark.parametrize("named", [{}, {"medium": {}}, {"medium": {}, "other": {}}], ids=str)
def test_each_branch_takes_its_own_half_of_the_control_latents(
    world: TransformerWorld, control: Redis, named: dict[str, dict[str, Any]]
) -> None:
    controlnets = [world.control(name, **changes) for name, changes in named.items()]
    spec = world.spec(
        num_inference_steps=STEPS,
        num_images=2,
        controlnets=controlnets,
        latent_parallelism="on",
        lora_loading=LoraLoading(),
    )
    _, whole = world.run(spec.model_copy(update={"latent_parallelism": "off"}))
    with two_workers(world, control, "base") as pair:
        job, ours = world.run(spec, pair.worker)
        assert pair.ended.get(timeout=60) == "released"
    assert job.receipt is not None
    assert job.receipt.spec.split_steps
    for a, b in zip(ours.pixels, whole.pixels, strict=True):
        assert np.abs(a - b).max() <= 1
