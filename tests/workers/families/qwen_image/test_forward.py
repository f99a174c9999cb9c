"""Whole Qwen-Image jobs on a worker, held against diffusers' own pipelines, bit for bit."""

from typing import Any

import pytest
from redis import Redis

from tests.workers.families.dtypes import in_turn
from tests.workers.families.qwen_image.peer import theirs
from tests.workers.families.transformer.two_workers import two_workers
from tests.workers.families.transformer.world import TransformerWorld

#: The scale of guidance is diffusers' default, 4.
GUIDED = {"negative_prompt": "a house"}

PLAIN: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch": {"num_images": 2},
    "wide": {"width": 96, "height": 32},
    "guided": GUIDED,
    "guided batch": {**GUIDED, "true_cfg_scale": 2.5, "num_images": 2},
    "empty negative prompt": {"negative_prompt": ""},
    "long text": {"prompt": "a red cat and " * 40, "max_sequence_length": 64},
    "own sigmas": {"sigmas": [0.9, 0.5, 0.2], "num_inference_steps": 3},
    "karras": {"scheduler": "flow_match_euler_karras"},
}
CONTROLLED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "one net": [("two", {"conditioning_scale": 0.6})],
    "a ControlNet whose residuals are not all read": [("four", {})],
    "part of the steps": [("two", {"guidance_start": 0.3, "guidance_end": 0.7})],
    "one ControlNet with two images": [("two", {"conditioning_scale": 0.7}), ("two", {"guidance_end": 0.5})],
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_text_becomes_what_diffusers_makes_of_it(world: TransformerWorld, case: str) -> None:
    spec = world.spec(**PLAIN[case])
    assert world.ours(spec).has_bits_of(theirs(world, spec))


@pytest.mark.parametrize("number", range(len(CONTROLLED)), ids=list(CONTROLLED))
def test_controlnets_guide_it_as_in_diffusers(world: TransformerWorld, number: int) -> None:
    named = [*CONTROLLED.values()][number]
    control_nets = [world.control(name, **options) for name, options in named]
    changes = in_turn(world.dtype, [{}, {**GUIDED, "num_images": 2}], number)
    spec = world.spec(controlnets=control_nets, **changes)
    ours = world.ours(spec)
    assert ours.has_bits_of(theirs(world, spec))
    assert not ours.has_bits_of(world.without_controlnets(spec))


FROM_IMAGES: list[dict[str, Any]] = [{}, {"num_images": 2}, GUIDED, {"strength": 1.0}]


@pytest.mark.parametrize("number", range(len(FROM_IMAGES)), ids=map(str, FROM_IMAGES))
def test_an_image_and_a_mask_are_taken_as_in_diffusers(world: TransformerWorld, number: int) -> None:
    begins = in_turn(world.dtype, [world.image, world.mask], number)()
    spec = world.spec(**{"num_inference_steps": 4, **begins, **FROM_IMAGES[number]})
    assert world.ours(spec).has_bits_of(theirs(world, spec))


@pytest.mark.parametrize("control_nets", [[], ["two"]], ids=["alone", "with a ControlNet"])
def test_branches_of_an_exact_job_on_two_workers_have_the_bits_of_diffusers(
    world: TransformerWorld, control: Redis, control_nets: list[str]
) -> None:
    controlnets = [world.control(name) for name in control_nets]
    spec = world.spec(
        num_inference_steps=8, controlnets=controlnets, latent_parallelism="on", num_images=2, **GUIDED
    )
    with two_workers(world, control, "base") as pair:
        job, ours = world.run(spec, pair.worker)
        assert pair.ended.get(timeout=60) == "released"
    # Given that the follower has computed a branch, nothing tells the images from diffusers' own
    assert job.receipt is not None
    assert job.receipt.spec.split_steps
    assert ours.has_bits_of(theirs(world, spec))
