"""Whole jobs of Z-Image, judged by diffusers' pipelines: the same bits before the VAE, the same pixels."""

from typing import Any

import pytest
import torch

from shared.catalog.schedulers import schedulers_of
from shared.errors import InvalidRequest
from shared.families.z_image import Z_IMAGE
from tests.workers.families.dtypes import in_turn
from tests.workers.families.transformer.recorded_steps import recording
from tests.workers.families.z_image.world import KINDS, World
from tests.workers.unet.jobs import run
from workers.families.z_image.conditioning import as_chat, encode_caption
from workers.unet.cfg_parallel.policy import may_split

#: Fields of jobs from text.
TEXT: dict[str, dict[str, Any]] = {
    "not guided": {"guidance_scale": 0.0},
    "guided": {},
    "guided weakly": {"guidance_scale": 0.5},
    "a longer negative prompt": {
        "negative_prompt": "a black cat on a white house and a big yellow star " * 3
    },
    "a short window": {"max_sequence_length": 12},
    "normalized": {"cfg_normalization": 0.5},
    "truncated": {"cfg_truncation": 0.4},
    "two images": {"num_images": 2},
    "own sigmas": {"sigmas": [1.0, 0.8, 0.5, 0.1]},
}


@pytest.mark.parametrize("fields", TEXT.values(), ids=TEXT)
def test_images_from_text_are_diffusers_own(world: World, fields: dict[str, Any]) -> None:
    wanted = world.spec(**fields)
    assert world.ours_once(wanted).equals(world.theirs(wanted))


FROM_IMAGES: list[dict[str, Any]] = [{}, {"guidance_scale": 0.0}, {"num_images": 2}]


#: Whether there is a mask, and the strength: each of the fields above meets both with a mask and without.
BEGINS = [(False, 0.6), (True, 1.0), (False, 1.0), (True, 0.6)]


@pytest.mark.parametrize("number", range(len(FROM_IMAGES)), ids=map(str, FROM_IMAGES))
def test_images_from_images_are_diffusers_own(world: World, number: int) -> None:
    mask, strength = in_turn(world.dtype, BEGINS, number)
    wanted = world.spec(strength=strength, **world.images(mask=mask), **FROM_IMAGES[number])
    assert world.ours(wanted).equals(world.theirs(wanted))


@pytest.mark.parametrize(
    "fields",
    [[{}, {"guidance_scale": 0.0}], [{"num_images": 2}, {"cfg_truncation": 0.4}]],
    ids=["guided or not", "two images or truncated"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_images_guided_by_a_controlnet_are_diffusers_own(
    world: World, kind: str, fields: list[dict[str, Any]]
) -> None:
    changes = in_turn(world.dtype, fields, KINDS.index(kind))
    wanted = world.spec(controlnets=[world.controlnet(kind)], **changes)
    ours = world.ours_once(wanted)
    assert ours.equals(world.theirs(wanted))
    assert not ours.equals(world.ours_once(wanted.model_copy(update={"controlnets": []})))


# For several images diffusers' pipeline fails: it has one mask, and the rest for each of them.
@pytest.mark.parametrize("kind", ["2.0", "2.1"])
def test_a_mask_is_given_to_the_controlnet(world: World, kind: str) -> None:
    fields = in_turn(world.dtype, [{}, {"guidance_scale": 0.0}], KINDS.index(kind))
    wanted = world.spec(
        controlnets=[world.controlnet(kind)], strength=1.0, **world.images(mask=True), **fields
    )
    ours = world.ours(wanted)
    assert ours.equals(world.theirs(wanted))
    assert not ours.equals(world.ours_once(world.spec(controlnets=[world.controlnet(kind)], **fields)))


def test_a_controlnet_guides_only_its_share_of_the_steps(world: World) -> None:
    plain = world.ours_once(world.spec())
    partly = world.ours(world.spec(controlnets=[world.controlnet("2.1", guidance_end=0.5)]))
    whole = world.ours_once(world.spec(controlnets=[world.controlnet("2.1")]))
    assert not partly.equals(plain)
    assert not partly.equals(whole)


def test_the_words_that_are_not_read_are_told(world: World) -> None:
    prompt = "a red cat on a blue background with a star in the night sky"
    with world.worker.models.use(world.dtype) as model:
        tokenizer, encoder = model.pipe.tokenizer, model.pipe.text_encoder
        # Given a window, of the template's tokens and the text's, that is one token too short
        before = len(tokenizer(as_chat(tokenizer, "{}").split("{}")[0])["input_ids"])
        words = tokenizer(prompt)["input_ids"]
        fits = world.spec(prompt=prompt, negative_prompt="", max_sequence_length=before + len(words))
        cut = fits.model_copy(update={"max_sequence_length": before + len(words) - 1})
        assert model.prompt_warnings(fits) == []
        last = tokenizer.decode(words[-1:])
        sees = f"prompt has {len(words)} tokens, the text encoder sees {len(words) - 1}; ignored: {last!r}"
        assert model.prompt_warnings(cut) == [sees]
        # Then a prompt with another last word has the same embeddings
        other = tokenizer.decode([*words[:-1], words[0]])
        for window, is_same in ((before + len(words), False), (before + len(words) - 1, True)):
            one, another = (encode_caption(tokenizer, encoder, text, window) for text in (prompt, other))
            assert torch.equal(one, another) == is_same


def test_a_job_is_not_split_over_two_workers_nor_batched_with_others(world: World) -> None:
    # Its rows are padded to the longest caption, and masked
    bounded = world.spec(lora_loading={"mode": "bounded"}, latent_parallelism="on")
    with world.worker.models.use(world.dtype) as model:
        assert not may_split(bounded, model)
    worker, steps = recording(world.worker)
    guided = bounded.model_copy(update={"controlnets": [world.controlnet("2.1")]})
    assert run(worker, guided).status == "succeeded"
    assert steps.batch_keys == [""] * 4


#: All but LCM's, whose noise a seed decides here, and the global generator in diffusers.
JUDGED = [name for name in schedulers_of(Z_IMAGE) if name != "flow_match_lcm"]


@pytest.mark.parametrize("number", range(len(JUDGED)), ids=JUDGED)
def test_every_scheduler_makes_what_it_makes_in_diffusers(world: World, number: int) -> None:
    """Guided by a ControlNet in one type of numbers, and not in the other."""
    controlnets = in_turn(world.dtype, [[], [world.controlnet("2.1")]], number)
    wanted = world.spec(scheduler=JUDGED[number], controlnets=controlnets)
    assert world.ours(wanted).equals(world.theirs(wanted))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"width": 1040}, "width is 1040; model '.*' takes at most 1024"),
        ({"prompt": "a cat " * 600, "max_sequence_length": 993}, "prompt is too long: .* positions for 992"),
        ({"negative_prompt": "a cat " * 600, "max_sequence_length": 993}, "negative_prompt is too long"),
    ],
    ids=["side", "prompt", "negative prompt"],
)
def test_what_the_model_has_no_positions_for_is_refused(
    world: World, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        world.ours(world.spec(**fields))
