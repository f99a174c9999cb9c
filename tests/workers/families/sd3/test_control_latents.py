"""What SD3's ControlNets are shown, held against diffusers' pipelines bit for bit: masks, another range."""

from typing import Any

import pytest
from diffusers.image_processor import VaeImageProcessor

from shared.errors import SwiftError
from tests.workers.families.sd3.peer import theirs
from tests.workers.families.transformer.world import TransformerWorld

JOBS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "guided": (["inpaint"], {"negative_prompt": "a house"}),
    "unguided": (["inpaint"], {"guidance_scale": 1.0}),
    "batch": (["inpaint"], {"num_images": 2, "seeds": [5, 3], "seed": 5}),
    "two": (["inpaint", "inpaint-other"], {}),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_controlnet_is_shown_image_and_mask_as_in_diffusers(world: TransformerWorld, job: str) -> None:
    names, fields = JOBS[job]
    shown = world.inpainting(*names, conditioning_scale=0.7)
    spec = world.spec(**shown, num_inference_steps=2, **fields)
    ours = world.ours(spec)
    assert ours.has_bits_of(theirs(world, spec))
    assert not ours.has_bits_of(world.ours(spec.model_copy(update={"controlnets": []})))


@pytest.mark.parametrize("scheduler", ["unipc_flow", "dpmpp_2m_flow"])
def test_schedulers_that_begin_with_noise_begin_such_jobs(world: TransformerWorld, scheduler: str) -> None:
    spec = world.spec(**world.inpainting("inpaint"), num_inference_steps=2, scheduler=scheduler)
    assert world.ours(spec).has_bits_of(theirs(world, spec))


def test_what_the_web_could_not_know_is_refused_by_the_worker(world: TransformerWorld) -> None:
    wanted, from_text = world.inpainting("inpaint"), dict.fromkeys(("image", "mask_image", "strength"))
    for changes, why in (
        ({"controlnets": [world.control("medium")]}, "'medium' was not trained to inpaint"),
        (
            {"controlnets": [world.control("inpaint")]},
            "'inpaint' inpaints the job's image: leave its own out",
        ),
        (from_text, "'inpaint' was trained to inpaint: it needs"),
        (from_text | {"controlnets": [world.control("small")]}, "width is .*'small' takes at most 32"),
        ({"strength": 0.5}, "generates all of what a mask marks: strength is 1"),
    ):
        with pytest.raises(SwiftError, match=why):
            world.ours(world.spec(**{**wanted, **changes}))


class CannyImageProcessor(VaeImageProcessor):
    """That of the model card of ``stabilityai/stable-diffusion-3.5-large-controlnet-canny``."""

    def __init__(self) -> None:
        super().__init__(do_normalize=False)

    def preprocess(self, image: Any, **options: Any) -> Any:
        return super().preprocess(image, **options) * 255 * 0.5 + 0.5

    def postprocess(self, image: Any, **options: Any) -> Any:
        return super().postprocess(image, **{**options, "do_denormalize": [True] * len(image)})


def test_control_images_are_shown_in_the_range_that_the_catalog_says(world: TransformerWorld) -> None:
    def spec(**changes: Any) -> Any:
        shown = [world.control("large-net", **changes)]
        return world.spec(model="large", controlnets=shown, num_inference_steps=2)

    own = world.ours(spec(control_range=(0.5, 128.0)))
    assert own.has_bits_of(theirs(world, spec(), CannyImageProcessor()))
    assert not own.has_bits_of(world.ours(spec()))
