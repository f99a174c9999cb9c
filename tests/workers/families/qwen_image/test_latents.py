"""Qwen-Image's ControlNet that was trained to inpaint, held against diffusers' pipeline for it."""

from typing import Any

import pytest

from shared.errors import SwiftError
from tests.workers.families.qwen_image.peer import theirs
from tests.workers.families.transformer.world import TransformerWorld

JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "guided": {"negative_prompt": "a house", "true_cfg_scale": 2.5},
    "batch": {"num_images": 2, "seeds": [5, 3], "seed": 5},
}


@pytest.mark.parametrize("job", JOBS)
def test_a_controlnet_is_shown_image_and_mask_as_in_diffusers(world: TransformerWorld, job: str) -> None:
    shown = world.inpainting("inpaint", conditioning_scale=0.7)
    spec = world.spec(**shown, num_inference_steps=2, **JOBS[job])
    ours = world.ours(spec)
    assert ours.has_bits_of(theirs(world, spec))
    assert not ours.has_bits_of(world.ours(spec.model_copy(update={"controlnets": []})))


def test_a_scheduler_that_begins_with_noise_begins_such_a_job(world: TransformerWorld) -> None:
    spec = world.spec(**world.inpainting("inpaint"), num_inference_steps=2, scheduler="unipc_flow")
    assert world.ours(spec).has_bits_of(theirs(world, spec))


def test_diffusers_shows_a_mask_to_one_controlnet_alone(world: TransformerWorld) -> None:
    with pytest.raises(SwiftError, match="with a mask Qwen-Image takes at most 1 of them, and the job has 2"):
        world.ours(world.spec(**world.inpainting("inpaint", "inpaint")))
