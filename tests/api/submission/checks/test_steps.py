from typing import Any

import pytest
from flask.testing import FlaskClient

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.checks.steps import check_steps
from tests.api.services import resolved
from tests.api.submission.test_resolve import refusal


def test_timesteps_say_how_many_steps_there_are(services: Services) -> None:
    request = JobRequest(prompt="a cat", scheduler="ddpm", timesteps=[999, 500, 20])
    spec = resolved(request, services)
    assert (spec.num_inference_steps, spec.timesteps) == (3, [999, 500, 20])


def test_the_last_sigma_is_no_step(services: Services) -> None:
    request = JobRequest(prompt="a cat", scheduler="euler", sigmas=[14.6, 3.0, 0.0])
    assert resolved(request, services).num_inference_steps == 2


def test_a_default_is_at_most_the_operators_limit() -> None:
    steps = check_steps(JobRequest(prompt="a cat"), "ddim", None, default=50, limit=40)
    assert steps == 40


@pytest.mark.parametrize(
    ("field", "value"), [("timesteps", [999, 20]), ("sigmas", [14.6, 0.0]), ("eta", 0.5)]
)
def test_what_a_scheduler_does_not_take_is_refused_naming_those_that_do(
    client: FlaskClient, field: str, value: Any
) -> None:
    problem = refusal(client, scheduler="unipc", **{field: value})
    assert problem["field"] == field
    assert "'unipc'" in problem["detail"]
    assert {"timesteps": "ddpm", "sigmas": "euler", "eta": "ddim"}[field] in problem["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timesteps", []),
        ("timesteps", [20, 999]),
        ("timesteps", [999, 999]),
        ("timesteps", [1000, 20]),
        ("timesteps", [20, -1]),
        ("timesteps", [20.5]),
        ("timesteps", list(range(250, 0, -1))),
        ("sigmas", [1.0]),
        ("sigmas", [0.0, 1.0]),
        ("sigmas", [1.0, -1.0]),
        ("sigmas", [1.0, "NaN"]),
        ("eta", -0.1),
        ("eta", 1.1),
        ("guidance_rescale", 2),
        ("clip_skip", -1),
        ("clip_skip", 65),
        ("long_prompt", "cut"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_field(client: FlaskClient, field: str, value: Any) -> None:
    problem = refusal(client, scheduler="euler", **{field: value})
    assert problem["field"].split(".")[0] in (field, "num_inference_steps")


def test_two_ways_of_placing_steps_are_one_too_many(client: FlaskClient) -> None:
    problem = refusal(client, scheduler="euler", timesteps=[999, 20], sigmas=[14.6, 0.0])
    assert problem["field"] == "sigmas"
    problem = refusal(client, scheduler="euler", timesteps=[999, 20], num_inference_steps=2)
    assert problem["field"] == "num_inference_steps"


def test_steps_that_depend_on_more_than_the_models_config_are_left_to_the_worker(services: Services) -> None:
    for scheduler, steps in (("dpmpp_2m_beta", 23), ("euler_beta", 25), ("pndm", 4), ("lcm", 50)):
        request = JobRequest(prompt="a cat", scheduler=scheduler, num_inference_steps=steps)
        assert resolved(request, services).num_inference_steps == steps
