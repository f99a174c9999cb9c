"""True guidance of Flux on two workers: diffusers runs two forwards, so the split has its bits."""

import pytest
from redis import Redis

from tests.workers.families.dtypes import in_turn
from tests.workers.families.flux.peer import theirs
from tests.workers.families.transformer.two_workers import two_workers
from tests.workers.families.transformer.world import TransformerWorld

STEPS = 8
GUIDED = {"negative_prompt": "a house", "true_cfg_scale": 2.5, "latent_parallelism": "on"}


@pytest.mark.parametrize("has_controlnet", [False, True])
def test_branches_of_an_exact_job_on_two_workers_have_the_bits_of_diffusers(
    world: TransformerWorld, control: Redis, has_controlnet: bool
) -> None:
    one = in_turn(world.dtype, [world.control("both"), world.control("union", control_mode=1)], 0)
    controlnets = [one] if has_controlnet else []
    spec = world.spec(num_inference_steps=STEPS, controlnets=controlnets, **GUIDED)
    with two_workers(world, control, "base") as pair:
        job, ours = world.run(spec, pair.worker)
        assert pair.ended.get(timeout=60) == "released"
    # Given that the follower has computed all steps once it was ready
    assert job.receipt is not None
    split = job.receipt.spec.split_steps
    assert split
    assert split == list(range(split[0], STEPS))
    # Then nothing tells the image from diffusers' own
    assert ours.has_bits_of(theirs(world, spec))
