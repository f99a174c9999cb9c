"""What `shared.catalog.schedulers` says without torch, held against diffusers itself."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

from shared.catalog.schedulers import (
    DIFFUSION_SCHEDULERS,
    FLOW_MATCH_SCHEDULERS,
    MAX_STEPS,
    SCHEDULERS,
    StepLimits,
    schedulers_of,
    step_limits,
)
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.z_image import Z_IMAGE

#: As Stable Diffusion 1.5 and SDXL have it.
CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@pytest.fixture(scope="module", params=DIFFUSION_SCHEDULERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(name: str) -> Any:
    """The scheduler, made once and with few timesteps: some take long to make."""
    return make(name, num_train_timesteps=100)


def make(name: str, **changes: Any) -> Any:
    config = {key: value for key, value in {**CONFIG, **changes}.items() if key in parameters(name)}
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


def test_every_option_exists_in_the_diffusers_class(name: str) -> None:
    assert set(SCHEDULERS[name].options) <= parameters(name)


@pytest.mark.parametrize(
    ("field", "value"), [("timesteps", [99, 70, 40, 10]), ("sigmas", [10.0, 5.0, 1.0, 0.0])]
)
def test_only_schedulers_that_take_timesteps_accept_them(
    name: str, made: Any, field: str, value: list[float]
) -> None:
    if field in SCHEDULERS[name].takes:
        made.set_timesteps(**{field: value})
        assert len(made.timesteps) > 0
    else:
        with pytest.raises((TypeError, ValueError)):
            made.set_timesteps(**{field: value})


def test_schedulers_take_eta_if_their_step_has_it(name: str, made: Any) -> None:
    assert ("eta" in inspect.signature(made.step).parameters) == ("eta" in SCHEDULERS[name].takes)


EMOJI = json.loads(Path("infra/emoji/model/scheduler/scheduler_config.json").read_text())
#: Configs of which something is certain, each with what it says of whom.
LIMITED: list[tuple[dict[str, Any], str, StepLimits]] = [
    *(
        (CONFIG, f"{name}_beta", StepLimits(max_steps=31))
        for name in ("deis", "dpmpp_2m", "dpmpp_sde", "unipc")
    ),
    *(
        (EMOJI, f"{name}_beta", StepLimits(max_steps=23))
        for name in ("dpmpp_2m_sde", "sa_solver", "dpmpp_2m")
    ),
    (CONFIG, "lcm", StepLimits(max_steps=50)),
    (CONFIG, "tcd", StepLimits(max_steps=50)),
    (CONFIG | {"original_inference_steps": 20}, "lcm", StepLimits(max_steps=20)),
    (CONFIG | {"num_train_timesteps": 10, "steps_offset": 0}, "ddim", StepLimits(max_steps=10)),
    (CONFIG | {"num_train_timesteps": 10}, "ddpm", StepLimits(max_steps=10)),
    (EMOJI, "pndm", StepLimits(min_steps=4)),
]
CONFIG_KEYS = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps")


@pytest.mark.parametrize(("config", "limited", "limits"), LIMITED)
def test_step_limits_are_those_of_diffusers(config: dict[str, Any], limited: str, limits: StepLimits) -> None:
    config = {"num_train_timesteps": 1000, **config}
    assert step_limits(limited, config) == limits

    def walked(steps: int) -> torch.Tensor:
        kind = SCHEDULERS[limited]
        return walk(getattr(diffusers, kind.name).from_config(config, **kind.options), steps)

    for steps in {limits.min_steps, min(limits.max_steps, 100) - 1}:
        assert walked(steps).isfinite().all()
    for steps in {limits.min_steps - 1, limits.max_steps + 1} - {0, MAX_STEPS + 1}:
        with pytest.raises((ValueError, IndexError, AssertionError)):
            walked(steps)


def test_pndm_that_skips_its_start_supports_a_single_step() -> None:
    assert step_limits("pndm", CONFIG) == StepLimits()
    for steps in (1, 2, 3):
        assert walk(make("pndm"), steps).isfinite().all()


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        dict.fromkeys(CONFIG_KEYS),
        CONFIG | {"beta_end": 0.013},
        CONFIG | {"num_train_timesteps": 999},
        CONFIG | {"trained_betas": [0.1]},
        CONFIG | {"rescale_betas_zero_snr": True},
        CONFIG | {"num_train_timesteps": "many", "beta_start": [1]},
    ],
)
def test_an_unknown_config_has_no_step_limits(config: dict[str, Any] | None) -> None:
    assert step_limits("dpmpp_2m_beta", config) == StepLimits()


def test_a_job_whose_pipeline_sets_the_begin_index_has_no_limit_from_the_beta_schedule() -> None:
    config = CONFIG | {"num_train_timesteps": 1000}
    assert step_limits("dpmpp_2m_beta", config, sets_begin_index=True) == StepLimits()
    assert step_limits("lcm", config, sets_begin_index=True).max_steps == 50


#: As Stable Diffusion 3 has it, and as Flux.1 dev has it.
STATIC: dict[str, Any] = {"num_train_timesteps": 1000, "shift": 3.0}
DYNAMIC: dict[str, Any] = STATIC | {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}


@pytest.mark.parametrize("name", FLOW_MATCH_SCHEDULERS)
def test_a_scheduler_of_flow_matching_is_a_class_with_these_options(name: str) -> None:
    kind = SCHEDULERS[name]
    shift = str(kind.shift_option)
    assert {*kind.options, shift} <= parameters(name)
    made = getattr(diffusers, kind.name).from_config(STATIC, **kind.options, **{shift: 2.0})
    made.set_timesteps(4)
    assert len(made.timesteps) == 4 * made.order - (made.order - 1)
    assert made.config[shift] == 2.0
    assert hasattr(made, "scale_noise") == kind.begins_from_image
    assert ("sigmas" in kind.takes) <= ("sigmas" in inspect.signature(made.set_timesteps).parameters)


@pytest.mark.parametrize("name", FLOW_MATCH_SCHEDULERS)
def test_schedulers_that_families_give_mu_take_it(name: str) -> None:
    # Flux, Qwen-Image and Z-Image give `mu` to any scheduler, the last two sigmas as well
    taken = inspect.signature(getattr(diffusers, SCHEDULERS[name].name).set_timesteps).parameters
    assert (name in schedulers_of(FLUX)) == ("mu" in taken)
    takes_both = {"mu", "sigmas"} <= {*taken}
    assert (name in schedulers_of(QWEN_IMAGE)) == takes_both
    # Z-Image's are a list, with which UniPC does not compute
    assert (name in schedulers_of(Z_IMAGE)) == (takes_both and name != "unipc_flow")
    assert name in schedulers_of(SD3)


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.55, 0.6, 0.99, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 10, 28])
def test_an_image_leaves_as_many_steps_as_diffusers_counts(steps: int, strength: float) -> None:
    def left(pipeline: Any) -> int:
        scheduler = SimpleNamespace(timesteps=list(range(steps)), order=1)
        own = SimpleNamespace(scheduler=scheduler)
        return len(pipeline.get_timesteps(own, steps, strength, "cpu")[0])

    for name, pipeline in (
        ("euler", diffusers.StableDiffusionImg2ImgPipeline),
        ("flow_match_euler", diffusers.FluxImg2ImgPipeline),
        ("flow_match_euler", diffusers.StableDiffusion3Img2ImgPipeline),
        ("flow_match_euler", diffusers.QwenImageImg2ImgPipeline),
        ("flow_match_euler", diffusers.ZImageImg2ImgPipeline),
    ):
        assert steps - SCHEDULERS[name].skipped_steps(steps, strength) == left(pipeline)
