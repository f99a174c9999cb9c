from typing import Any

import pytest

from shared.scheduling.cost import work_of
from tests.shared.jobs.records import spec


@pytest.mark.parametrize(
    ("changes", "units"),
    [
        ({"width": 64, "height": 32}, 4 * 2 * 64 * 32),
        ({"width": 64, "height": 32, "guidance_scale": 1.0}, 4 * 64 * 32),
        ({"width": 64, "height": 32, "num_images": 3}, 4 * 6 * 64 * 32),
        ({"width": 64, "height": 32, "seeds": [1, 2]}, 4 * 4 * 64 * 32),
        ({"width": 64, "height": 32, "timesteps": [900, 500, 100]}, 3 * 2 * 64 * 32),
        ({"width": 64, "height": 32, "sigmas": [9.0, 3.0, 0.0]}, 2 * 2 * 64 * 32),
        ({"width": 64, "height": 32, "image": "0" * 64, "strength": 0.5}, 2 * 2 * 64 * 32),
        ({}, 4 * 2 * 512 * 512),
    ],
)
def test_the_work_of_a_job_is_steps_times_rows_times_pixels(changes: dict[str, Any], units: int) -> None:
    work = work_of(spec(**changes))
    assert work.steps * work.rows * work.pixels == units


def test_only_jobs_whose_steps_take_equally_long_have_one_shape() -> None:
    shapes = [
        work_of(spec(**changes)).shape
        for changes in (
            {"width": 64, "height": 32},
            {"width": 32, "height": 64},
            {"width": 64, "height": 32, "num_images": 2},
            {"width": 64, "height": 32, "guidance_scale": 1.0},
            {},
        )
    ]
    assert len(set(shapes)) == len(shapes)
    assert work_of(spec(seed=8, num_inference_steps=9)).shape == shapes[-1]
