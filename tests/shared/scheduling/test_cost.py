from typing import Any

import pytest

from shared.families.base import FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.unet import SD1
from shared.families.z_image import Z_IMAGE
from shared.scheduling.cost import work_of
from tests.shared.jobs.records import spec


@pytest.mark.parametrize(
    ("changes", "units"),
    [
        ({"width": 64, "height": 32}, 4 * 2 * 64 * 32),
        ({"width": 64, "height": 32, "guidance_scale": 1.0}, 4 * 64 * 32),
        ({"width": 64, "height": 32, "num_images": 3}, 4 * 6 * 64 * 32),
        ({"width": 64, "height": 32, "seeds": [1, 2]}, 4 * 4 * 64 * 32),
        (
            {"width": 64, "height": 32, "num_inference_steps": 3, "timesteps": [900, 500, 100]},
            3 * 2 * 64 * 32,
        ),
        ({"width": 64, "height": 32, "num_inference_steps": 2, "sigmas": [9.0, 3.0, 0.0]}, 2 * 2 * 64 * 32),
        ({"width": 64, "height": 32, "num_inference_steps": 1, "sigmas": [1.0]}, 2 * 64 * 32),  # a flow's
        ({"width": 64, "height": 32, "image": "0" * 64, "strength": 0.5}, 2 * 2 * 64 * 32),
        ({}, 4 * 2 * 512 * 512),
        (
            {
                "width": 64,
                "height": 32,
                "image": "0" * 64,
                "strength": 0.7,
                "num_inference_steps": 3,
                "timesteps": [900, 500, 100],
            },
            2 * 2 * 64 * 32,
        ),
        (
            {
                "width": 64,
                "height": 32,
                "image": "0" * 64,
                "strength": 0.7,
                "num_inference_steps": 3,
                "sigmas": [1.0, 0.6, 0.3],
                "scheduler": "flow_match_euler",
            },
            3 * 2 * 64 * 32,  # flow matching rounds up what is left
        ),
    ],
)
def test_the_work_of_a_job_is_steps_times_rows_times_pixels(changes: dict[str, Any], units: int) -> None:
    work = work_of(spec(**changes), None)
    assert work.steps * work.rows * work.pixels == units


def test_only_jobs_whose_steps_take_equally_long_have_one_shape() -> None:
    shapes = [
        work_of(spec(**changes), None).shape
        for changes in (
            {"width": 64, "height": 32},
            {"width": 32, "height": 64},
            {"width": 64, "height": 32, "num_images": 2},
            {"width": 64, "height": 32, "guidance_scale": 1.0},
            {},
        )
    ]
    assert len(set(shapes)) == len(shapes)
    assert work_of(spec(seed=8, num_inference_steps=9), None).shape == shapes[-1]


@pytest.mark.parametrize(
    ("facts", "changes", "rows"),
    [
        (SD1, {"guidance_scale": 7.5}, 2),
        (SD1, {"guidance_scale": 1.0}, 1),
        (FLUX, {"guidance_scale": 3.5, "negative_prompt": None}, 1),
        (FLUX, {"guidance_scale": 3.5, "true_cfg_scale": 2.0, "negative_prompt": ""}, 2),
        (FLUX, {"guidance_scale": 1.0, "true_cfg_scale": 2.0, "negative_prompt": "red"}, 2),
        (QWEN_IMAGE, {"guidance_scale": 1.0, "negative_prompt": "red"}, 2),
        (QWEN_IMAGE, {"guidance_scale": 1.0, "negative_prompt": None}, 1),
        (QWEN_IMAGE, {"guidance_scale": 1.0, "true_cfg_scale": 1.0, "negative_prompt": None}, 1),
        (Z_IMAGE, {"guidance_scale": 0.5}, 2),
        (Z_IMAGE, {"guidance_scale": 0.0}, 1),
    ],
)
def test_the_rows_of_a_job_are_those_that_its_family_computes(
    facts: FamilyFacts, changes: dict[str, Any], rows: int
) -> None:
    assert work_of(spec(**changes), facts).rows == rows
