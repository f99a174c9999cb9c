"""A job in, an image out, over HTTP; compared with diffusers' own pipelines."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from shared.jobs.receipt import Receipt
from shared.jobs.spec import JobSpec
from tests.diffusers_peer import generate_with_diffusers, mask_image, source_image
from tests.fleet.conftest import Client, control_image
from tests.tiny_models import EMOJI


@pytest.fixture(scope="module")
def emoji() -> Any:
    return StableDiffusionPipeline.from_pretrained(
        EMOJI / "model", dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )


@pytest.fixture(scope="module")
def edge() -> Any:
    return ControlNetModel.from_pretrained(EMOJI / "controlnets" / "edge", dtype=torch.float32)


def spec_of(job: dict[str, Any]) -> JobSpec:
    """The request as the fleet understood it, with the size it used."""
    size = {side: job["images"][0][side] for side in ("width", "height")}
    return JobSpec.model_validate({**job["request"], **size})


def test_a_job_with_a_controlnet_is_diffusers_own_image(fleet: Client, emoji: Any, edge: Any) -> None:
    job = fleet.generate(controlnets=[control_image()])
    assert np.array_equal(fleet.pixels(job), generate_with_diffusers(emoji, [edge], spec_of(job))[0])
    plain = fleet.generate()
    assert np.array_equal(fleet.pixels(plain), generate_with_diffusers(emoji, [], spec_of(plain))[0])
    assert not np.array_equal(fleet.pixels(plain), fleet.pixels(job))


@pytest.mark.parametrize("name", ["twemoji", "outline", "outline.kohya"])
def test_a_job_with_a_controlnet_and_an_exact_lora_is_diffusers_own_to_rounding(
    name: str, fleet: Client, loras: dict[str, Path], emoji: Any, edge: Any
) -> None:
    job = fleet.generate(
        controlnets=[control_image()], loras=[{"name": name}], lora_loading={"mode": "exact"}
    )
    theirs = generate_with_diffusers(emoji, [edge], spec_of(job), [(loras[name], 1.0)])[0]
    assert np.abs(fleet.pixels(job) - theirs).max() <= 1


def test_a_tiny_random_model_with_two_controlnets_is_diffusers_own_image(fleet: Client) -> None:
    # Loaded as the workers load them: sums depend on how weights lie in memory, too.
    home = fleet.stack.home.parent
    options = {"safety_checker": None, "requires_safety_checker": False}
    pipe = StableDiffusionPipeline.from_pretrained(home / "tiny", dtype=torch.float32, **options)
    controlnet = ControlNetModel.from_pretrained(home / "tiny-controlnet", dtype=torch.float32)
    both = [control_image("tiny-controlnet"), control_image("tiny-controlnet", conditioning_scale=0.3)]
    job = fleet.generate(model="tiny", num_inference_steps=4, controlnets=both)
    theirs = generate_with_diffusers(pipe, [controlnet, controlnet], spec_of(job))[0]
    assert np.array_equal(fleet.pixels(job), theirs)


@pytest.mark.parametrize(
    ("kind", "controlnets"),
    [
        (ControlNetModel, [{}, {"conditioning_scale": 0.3}]),
        (ControlNetUnionModel, [{"control_mode": 1, "conditioning_scale": 0.7}]),
    ],
)
def test_an_sdxl_job_with_its_controlnets_is_diffusers_own_image(
    kind: Any, controlnets: list[dict[str, Any]], fleet: Client
) -> None:
    home, name = fleet.stack.home.parent, "xl-union" if kind is ControlNetUnionModel else "xl-controlnet"
    pipe = StableDiffusionXLPipeline.from_pretrained(
        home / "tiny-xl", dtype=torch.float32, add_watermarker=False
    )
    controlnet = kind.from_pretrained(home / name, dtype=torch.float32)
    job = fleet.generate(
        model="tiny-xl",
        num_inference_steps=4,
        original_size=[128, 96],
        controlnets=[control_image(name, **changes) for changes in controlnets],
        lora_loading={"mode": "exact"},
    )
    theirs = generate_with_diffusers(pipe, [controlnet] * len(controlnets), spec_of(job))[0]
    assert np.array_equal(fleet.pixels(job), theirs)


def test_a_masked_image_is_repainted_as_diffusers_does(fleet: Client, emoji: Any, edge: Any) -> None:
    source = {"image": base64_png(source_image()), "mask_image": base64_png(mask_image()), "strength": 0.7}
    job = fleet.generate(controlnets=[control_image()], scheduler="ddpm", **source)
    assert job["progress"] == {"step": 4, "total": 4}  # of 6
    assert np.array_equal(fleet.pixels(job), generate_with_diffusers(emoji, [edge], spec_of(job))[0])
    again = fleet.wait(fleet.post({"receipt": job["receipt"]}).json()["id"])
    assert np.array_equal(fleet.pixels(again), fleet.pixels(job))


def base64_png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_several_images_have_their_own_seeds(fleet: Client) -> None:
    job = fleet.generate(num_images=2, seed=100)
    assert [image["seed"] for image in job["images"]] == [100, 101]
    assert not np.array_equal(fleet.pixels(job, 0), fleet.pixels(job, 1))


def test_the_png_carries_its_receipt(fleet: Client) -> None:
    job = fleet.generate()
    png = fleet.get(job["images"][0]["url"]).content
    stored = Receipt.model_validate_json(Image.open(io.BytesIO(png)).info["receipt"])
    assert stored == Receipt.model_validate(job["receipt"])


def test_progress_is_told_as_it_happens_and_can_be_resumed(fleet: Client) -> None:
    job_id = fleet.submit(num_inference_steps=8, controlnets=[control_image()])
    events = list(fleet.events(job_id))
    steps = [data["step"] for _, kind, data in events if kind == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] == 8
    assert events[-1][1] == "done"
    assert events[-1][2]["status"] == "succeeded"
    assert any(kind == "preview" for _, kind, _ in events)
    assert list(fleet.events(job_id, after=events[-3][0])) == events[-2:]


def test_encoder_and_controlnet_overlap_and_the_timeline_says_who_worked(fleet: Client) -> None:
    job = fleet.generate(controlnets=[control_image()])
    by_name: dict[str, set[str]] = {}
    for span in job["timeline"]:
        by_name.setdefault(span["name"], set()).add(span["worker"].split("@")[0])
    assert by_name["encoder"] == {"unet1"}
    assert by_name["controlnet edge"] & {"controlnet1", "controlnet2"}  # it may claim a step itself, too
    encoders = [span for span in job["timeline"] if span["name"] == "encoder"]
    controlnets = [span for span in job["timeline"] if span["name"] == "controlnet edge"]
    pairs = zip(encoders, controlnets, strict=True)
    assert any(min(e["end_s"], n["end_s"]) > max(e["start_s"], n["start_s"]) for e, n in pairs)
