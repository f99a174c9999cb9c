"""What `shared.schedulers` says without torch, held against diffusers itself."""

import inspect
from typing import Any

import diffusers
import pytest
import torch

from shared.schedulers import SCHEDULERS

#: As Stable Diffusion 1.5 and SDXL have it.
CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@pytest.fixture(scope="module", params=SCHEDULERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(name: str) -> Any:
    """The scheduler, made once: some take long to make."""
    return make(name)


def make(name: str) -> Any:
    config = {key: value for key, value in CONFIG.items() if key in parameters(name)}
    return getattr(diffusers, SCHEDULERS[name].name).from_config(config, **SCHEDULERS[name].options)


def parameters(name: str) -> set[str]:
    return set(inspect.signature(getattr(diffusers, SCHEDULERS[name].name).__init__).parameters)


def walk(scheduler: Any, steps: int) -> torch.Tensor:
    """Where the steps lead to from ones, whatever the model says."""
    scheduler.set_timesteps(steps)
    x = torch.ones(1, 1, 1, 1)
    for t in scheduler.timesteps:
        x = scheduler.step(scheduler.scale_model_input(x, t), t, x, return_dict=False)[0]
    return x


def test_every_option_is_one_of_the_class(name: str) -> None:
    assert set(SCHEDULERS[name].options) <= parameters(name)


@pytest.mark.parametrize(
    ("field", "value"), [("timesteps", [999, 700, 400, 100]), ("sigmas", [10.0, 5.0, 1.0, 0.0])]
)
def test_steps_are_placed_by_those_schedulers_that_take_it_and_by_no_other(
    name: str, made: Any, field: str, value: list[float]
) -> None:
    if field in SCHEDULERS[name].takes:
        made.set_timesteps(**{field: value})
        assert len(made.timesteps) > 0
    else:
        with pytest.raises((TypeError, ValueError)):
            made.set_timesteps(**{field: value})


def test_eta_is_taken_by_those_whose_step_has_it(name: str, made: Any) -> None:
    assert ("eta" in inspect.signature(made.step).parameters) == ("eta" in SCHEDULERS[name].takes)


def test_the_fewest_steps_can_be_walked(name: str, made: Any) -> None:
    assert walk(made, SCHEDULERS[name].min_steps).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("bound", [name for name, kind in SCHEDULERS.items() if kind.max_steps < 1000])
def test_the_most_steps_can_be_walked_and_one_more_cannot(bound: str) -> None:
    most = SCHEDULERS[bound].max_steps
    walk(make(bound), most)
    with pytest.raises((ValueError, IndexError, AssertionError)):
        walk(make(bound), most + 1)
