"""Whole Flux jobs on a worker, held against diffusers' own pipelines, bit for bit."""

import base64
import io
from typing import Any

import pytest
import torch
from PIL import Image

from shared.catalog.schedulers import schedulers_of
from shared.errors import ControlNetFailed
from shared.families.flux import FLUX
from tests.workers.families.dtypes import in_turn
from tests.workers.families.flux.peer import theirs
from tests.workers.families.transformer.recorded_steps import recording
from tests.workers.families.transformer.world import PARTS, SCHEDULED_PARTS, TransformerWorld

GUIDED = {"negative_prompt": "a house", "true_cfg_scale": 2.5}

#: Fields of a job, and its ControlNets: names, and what the job says of each.
PLAIN: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"guidance_scale": 1.0},
    "schnell": {"model": "schnell", "guidance_scale": 0.0, "num_inference_steps": 2},
    "batch": {"num_images": 2},
    "second prompt": {"prompt_2": "a green fish in the sky"},
    "as many tokens as usual": {"max_sequence_length": None},
    "true guidance": GUIDED,
    "true guidance of two texts each": {**GUIDED, "negative_prompt_2": "a tree", "num_images": 2},
    "empty negative prompt": {**GUIDED, "negative_prompt": ""},
    "own sigmas": {"sigmas": [0.9, 0.5, 0.2], "num_inference_steps": 3},
}
CONTROLLED: dict[str, dict[str, dict[str, Any]]] = {
    "both kinds of blocks": {"both": {"conditioning_scale": 0.6}},
    "double blocks": {"double": {}},
    "two double blocks": {"short": {}},
    "union": {"union": {"control_mode": 2}},
    "pixels": {"xlabs": {"conditioning_scale": 0.8}},
    "unguided net": {"unguided": {}},
    "part of the steps": {"both": {"guidance_start": 0.3, "guidance_end": 0.7}},
    "two nets": {"both": {"conditioning_scale": 0.7}, "other": {"guidance_end": 0.5}},
    "union beside a plain one": {"union": {"control_mode": 4, "guidance_end": 0.7}, "both": {}},
    "plain one beside a union": {"both": {"conditioning_scale": 0.7}, "union": {"control_mode": 0}},
    "pixels twice": {"xlabs": {"conditioning_scale": 0.8}, "other-xlabs": {"guidance_start": 0.3}},
}


#: Of the model "shifted", as a user of diffusers gives them.
SHIFTED: dict[str, Any] = {"max_shift": 2.5, "shift_terminal": 0.1, "time_shift_type": "linear"}


def controls(world: TransformerWorld, named: dict[str, dict[str, Any]]) -> list[Any]:
    return [world.control(name, **changes) for name, changes in named.items()]


@pytest.mark.parametrize("case", PLAIN)
def test_a_text_becomes_what_diffusers_makes_of_it(world: TransformerWorld, case: str) -> None:
    spec = world.spec(**PLAIN[case])
    assert world.ours(spec).has_bits_of(theirs(world, spec))


def test_options_of_a_scheduler_config_are_those_of_from_config(world: TransformerWorld) -> None:
    spec = world.spec(model="shifted")
    ours = world.ours(spec)
    with world.scheduler_of_diffusers("shifted", SHIFTED):
        assert ours.has_bits_of(theirs(world, spec))
    assert not ours.has_bits_of(world.ours(world.spec()))


@pytest.mark.parametrize("number", range(len(CONTROLLED)), ids=list(CONTROLLED))
def test_controlnets_guide_it_as_in_diffusers(world: TransformerWorld, number: int) -> None:
    named, guided = [*CONTROLLED.values()][number], in_turn(world.dtype, [{}, GUIDED], number)
    spec = world.spec(controlnets=controls(world, named), **guided)
    ours = world.ours(spec)
    assert ours.has_bits_of(theirs(world, spec))
    assert not ours.has_bits_of(world.without_controlnets(spec))


def test_a_controlnet_for_dev_guides_schnell_as_in_diffusers(world: TransformerWorld) -> None:
    spec = world.spec(model="schnell", controlnets=[world.control("schnell-both")], num_images=2)
    assert world.ours(spec).has_bits_of(theirs(world, spec))


FROM_IMAGES: list[dict[str, Any]] = [{}, {"num_images": 2}, GUIDED, {"strength": 1.0}]


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


GUIDING_IMAGES = ["both kinds of blocks", "pixels", "two nets", "union"]


@pytest.mark.parametrize("number", range(len(GUIDING_IMAGES)), ids=GUIDING_IMAGES)
def test_controlnets_guide_jobs_from_images_as_in_diffusers(world: TransformerWorld, number: int) -> None:
    begins = in_turn(world.dtype, [world.image, world.mask], number)()
    named = CONTROLLED[GUIDING_IMAGES[number]]
    spec = world.spec(num_inference_steps=4, controlnets=controls(world, named), **begins)
    assert world.ours(spec).has_bits_of(theirs(world, spec))


@pytest.mark.parametrize(
    ("other", "gives"),
    [
        ("double", "3/0 residuals, with guidance"),
        ("xlabs", "2/0 residuals, repeated"),
        ("unguided", "2/3 residuals"),
    ],
)
def test_controlnets_of_other_layouts_are_refused_by_name(
    world: TransformerWorld, other: str, gives: str
) -> None:
    spec = world.spec(controlnets=[world.control("both"), world.control(other)])
    why = f"'{other}' gives {gives}, 'both' 2/3 residuals, with guidance: one job cannot have both"
    with pytest.raises(ControlNetFailed, match=why):
        world.ours(spec)


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
JUDGED = [name for name in schedulers_of(FLUX) if name != "flow_match_lcm"]


@pytest.mark.parametrize("number", range(len(JUDGED)), ids=JUDGED)
def test_every_scheduler_makes_what_it_makes_in_diffusers(world: TransformerWorld, number: int) -> None:
    """With a ControlNet in all steps in one type of numbers; in some of them, and without, in the other."""
    is_for_controlnets = JUDGED[number] not in FLUX.unused_with_controlnets
    for part in in_turn(world.dtype, SCHEDULED_PARTS, number) if is_for_controlnets else [None]:
        controlnets = [] if part is None else [world.control("short", **PARTS[part])]
        spec = world.spec(scheduler=JUDGED[number], num_inference_steps=4, controlnets=controlnets)
        assert world.ours(spec).has_bits_of(theirs(world, spec)), part


@pytest.mark.parametrize("order", [("both", "unguided"), ("unguided", "both")], ids=str)
def test_controlnets_of_which_one_takes_guidance_fail_in_diffusers_too(
    world: TransformerWorld, order: tuple[str, str]
) -> None:
    spec = world.spec(controlnets=[world.control(name) for name in order])
    with pytest.raises(ControlNetFailed, match="one job cannot have both"):
        world.ours(spec)
    with pytest.raises(TypeError):  # it gives all of them what the first one takes
        theirs(world, spec)


def test_a_step_may_be_batched_with_those_of_other_jobs(world: TransformerWorld) -> None:
    worker, steps = recording(world.worker)
    bounded = world.spec(controlnets=[world.control("short")], lora_loading={"mode": "bounded"})
    world.run(bounded, worker)
    assert len(set(steps.batch_keys)) == 1
    assert steps.batch_keys[0] != ""


@pytest.mark.parametrize("controlnets", [["both"], ["both", "other"]], ids=str)
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_residuals_of_less_precision_change_the_image_a_little(
    world: TransformerWorld, precision: str, controlnets: list[str]
) -> None:
    bounded = {"lora_loading": {"mode": "bounded"}}
    spec = world.spec(controlnets=[world.control(name) for name in controlnets], **bounded)
    exact = world.ours(spec)
    job, coded = world.run(world.spec(**{**dict(spec), "residual_precision": precision}))
    assert job.receipt is not None
    assert job.receipt.spec.residual_precision == precision
    is_bfloat16 = world.worker.models.loaded()["base"].dtype == torch.bfloat16
    if precision == "float16" and is_bfloat16:  # which has no more bytes: it travels as it is
        assert coded.has_bits_of(exact)
        return
    assert not coded.has_bits_of(exact)
    (ours,), (theirs_,) = coded.latents, exact.latents
    off = (ours.float() - theirs_.float()).norm() / theirs_.float().norm()
    assert off < 0.1
    # And a plain image is further off
    plain = world.ours(world.spec(**bounded)).latents[0].float()
    assert off < 0.5 * (plain - theirs_.float()).norm() / theirs_.float().norm()
