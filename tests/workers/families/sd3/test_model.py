"""Whole jobs of Stable Diffusion 3 on a worker, held against diffusers' own pipelines, bit for bit."""

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalog.schedulers import schedulers_of
from shared.errors import ControlNetFailed, ModelFailed, SwiftError
from shared.families.sd3 import SD3
from tests.workers.families.dtypes import in_turn
from tests.workers.families.sd3.peer import theirs
from tests.workers.families.transformer.world import PARTS, TransformerWorld

#: Fields of a job, and its ControlNets: names, and what the job says of each.
PLAIN: dict[str, dict[str, Any]] = {
    "plain": {},
    "unguided": {"guidance_scale": 1.0},
    "negative": {"negative_prompt": "a house", "num_images": 2},
    "three texts": {
        "prompt_2": "a green fish in the sky",
        "prompt_3": "a tree",
        "negative_prompt": "a house",
        "negative_prompt_2": "a star",
        "negative_prompt_3": "rain",
    },
    "as many tokens as usual": {"max_sequence_length": None},
    "clip skip": {"clip_skip": 1},
    "large": {"model": "large", "num_images": 2},
    "without T5": {"model": "without-t5", "negative_prompt": "a house"},
    "own sigmas": {"sigmas": [0.9, 0.5, 0.2], "num_inference_steps": 3},
    "own shift": {"shift": 2.0},
}
CONTROLLED: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "one": ("base", {"medium": {"conditioning_scale": 0.6}}),
    "deep": ("base", {"deep": {}}),
    "pooled": ("base", {"pooled": {}}),
    "large": ("large", {"large-net": {"conditioning_scale": 0.8}}),
    "part of the steps": ("base", {"medium": {"guidance_start": 0.3, "guidance_end": 0.7}}),
    "two": ("base", {"medium": {"conditioning_scale": 0.7}, "other": {"guidance_end": 0.5}}),
    "two large": ("large", {"large-net": {}, "large-other": {"conditioning_scale": 0.4}}),
}
#: Jobs with ControlNets: guided, unguided, and of several images.
JOBS: list[dict[str, Any]] = [{}, {"guidance_scale": 1.0}, {"num_images": 2, "seeds": [5, 3], "seed": 5}]


def controls(world: TransformerWorld, named: dict[str, dict[str, Any]]) -> list[Any]:
    return [world.control(name, **changes) for name, changes in named.items()]


@pytest.mark.parametrize("case", PLAIN)
def test_a_text_becomes_what_diffusers_makes_of_it(world: TransformerWorld, case: str) -> None:
    spec = world.spec(**PLAIN[case])
    assert world.ours(spec).has_bits_of(theirs(world, spec))


@pytest.mark.parametrize("number", range(len(CONTROLLED)), ids=list(CONTROLLED))
def test_controlnets_guide_it_as_in_diffusers(world: TransformerWorld, number: int) -> None:
    model, named = [*CONTROLLED.values()][number]
    job = in_turn(world.dtype, JOBS, number)
    spec = world.spec(model=model, controlnets=controls(world, named), **job)
    ours = world.ours(spec)
    assert ours.has_bits_of(theirs(world, spec))
    assert not ours.has_bits_of(world.without_controlnets(spec))


FROM_IMAGES: list[dict[str, Any]] = [{}, {"guidance_scale": 1.0}, {"strength": 1.0}]


@pytest.mark.parametrize("number", range(len(FROM_IMAGES)), ids=map(str, FROM_IMAGES))
def test_an_image_and_a_mask_are_taken_as_in_diffusers(world: TransformerWorld, number: int) -> None:
    begins = in_turn(world.dtype, [world.image, world.mask], number)()
    spec = world.spec(**{"num_inference_steps": 4, **begins, **FROM_IMAGES[number]})
    assert world.ours(spec).has_bits_of(theirs(world, spec))


def test_a_mask_at_full_strength_begins_as_in_diffusers_wherever_the_steps_begin(
    world: TransformerWorld,
) -> None:
    begins = {"sigmas": [0.8, 0.5, 0.2], "num_inference_steps": 3, "strength": 1.0}
    spec = world.spec(**{**world.mask(), **begins})
    assert world.ours(spec).has_bits_of(theirs(world, spec))


def test_images_of_a_mask_share_one_sample_as_in_diffusers(world: TransformerWorld) -> None:
    spec = world.spec(num_inference_steps=4, num_images=2, **world.mask())
    assert world.ours(spec).has_bits_of(theirs(world, spec))


def test_each_image_from_an_image_is_what_its_seed_gives_alone(world: TransformerWorld) -> None:
    # Given that diffusers' pipeline runs with one generator alone
    spec = world.spec(num_inference_steps=4, num_images=2, **world.image())
    alone = [spec.model_copy(update={"seed": seed, "num_images": 1}) for seed in spec.image_seeds]
    largest = 1 if world.worker.models.loaded()["base"].dtype == torch.float32 else 8
    for image, one in zip(world.ours(spec).pixels, alone, strict=True):
        assert np.abs(image - theirs(world, one).pixels[0]).max() <= largest


@pytest.mark.parametrize(
    ("other", "gives"),
    [("deep", "5 residuals of texts, nor pooled texts"), ("pooled", "3 residuals of texts,")],
)
def test_controlnets_of_other_layouts_are_refused_by_name(
    world: TransformerWorld, other: str, gives: str
) -> None:
    spec = world.spec(controlnets=[world.control("medium"), world.control(other)])
    with pytest.raises(ControlNetFailed, match=f"'{other}' gives {gives}.*one job cannot have both"):
        world.ours(spec)


def test_a_controlnet_of_channels_that_diffusers_does_not_give_is_refused(world: TransformerWorld) -> None:
    with (
        pytest.raises(ModelFailed, match=r"'channels'.*it takes 2 channels beside an image's"),
        world.worker.controlnets.use("channels"),
    ):
        pass


def test_a_side_that_the_model_has_no_positions_for_is_refused(world: TransformerWorld) -> None:
    with pytest.raises(SwiftError, match="height is 400; model 'base' takes at most 384"):
        world.ours(world.spec(width=384, height=400))


def test_more_layers_than_clip_has_are_not_skipped(world: TransformerWorld) -> None:
    with pytest.raises(SwiftError, match="clip_skip is 3; model 'base' has 2 layers to leave out"):
        world.ours(world.spec(clip_skip=3))


@pytest.mark.parametrize("field", ["prompt_3", "negative_prompt_3"])
def test_a_text_for_a_t5_that_is_not_there_is_refused(world: TransformerWorld, field: str) -> None:
    with pytest.raises(SwiftError, match=f"'without-t5' has no text_encoder_3: nothing reads {field}"):
        world.ours(world.spec(model="without-t5", **{field: "a tree"}))


def test_a_text_that_is_cut_is_told(world: TransformerWorld) -> None:
    spec = world.spec(prompt="a red cat on a blue background " * 6, max_sequence_length=16)
    job, _ = world.run(spec)
    clip, t5 = (warning for warning in job.warnings if "tokens" in warning)
    assert "the text encoder sees 32" in clip
    assert "the text encoder sees 16" in t5


def test_a_job_has_previews(world: TransformerWorld) -> None:
    with world.worker.models.use("base") as model:
        model.latents.prepare_preview()
        noise = model.latents.sample_noise([torch.Generator().manual_seed(1)], (64, 48))
        png = model.latents.preview(noise.float(), (64, 48))
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    assert image.size == (8, 6)


#: All but LCM's, whose noise a seed decides here, and the global generator in diffusers.
JUDGED = [name for name in schedulers_of(SD3) if name != "flow_match_lcm"]


@pytest.mark.parametrize("number", range(len(JUDGED)), ids=JUDGED)
def test_every_scheduler_makes_what_it_makes_in_diffusers(world: TransformerWorld, number: int) -> None:
    """Guided by a ControlNet in one type of numbers, and not in the other."""
    controlnets = in_turn(world.dtype, [[], [world.control("medium", **PARTS["middle"])]], number)
    spec = world.spec(scheduler=JUDGED[number], num_inference_steps=4, controlnets=controlnets)
    assert world.ours(spec).has_bits_of(theirs(world, spec))
