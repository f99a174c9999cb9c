"""Schedules of flow matching have the bits of diffusers' pipelines: steps, shifts, images to begin from."""

import json
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps

from infra.tiny_models.flux import make_flux
from shared.catalog.schedulers import FLOW_MATCH_SCHEDULERS, SCHEDULERS, schedulers_of
from shared.errors import InvalidRequest
from shared.families.flux import FLUX
from tests.workers.unet.specs import spec
from workers.devices.selection import find_device
from workers.families.flux.model import FluxModel
from workers.unet.timesteps.dry_run import check_steps
from workers.unet.timesteps.schedule import TimestepSpec, make_schedule

CPU = find_device("cpu")
STEPS, MU = 5, 0.9
STATIC: dict[str, Any] = {"num_train_timesteps": 1000, "shift": 3.0}
DYNAMIC: dict[str, Any] = STATIC | {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}


def plain_scheduler(name: str, config: dict[str, Any], **shift: float) -> Any:
    """As a user of diffusers makes it."""
    kind = SCHEDULERS[name]
    own = {"flow_shift": config["shift"]} if kind.shift_option == "flow_shift" else {}
    return getattr(diffusers, kind.name).from_config(config, **kind.options, **own | shift)


@pytest.mark.parametrize(
    ("name", "config"),
    [(name, config) for config in (DYNAMIC, STATIC) for name in schedulers_of(FLUX, config)],
)
def test_steps_lie_where_fluxs_pipeline_places_them(name: str, config: dict[str, Any]) -> None:
    scheduler = plain_scheduler(name, config)
    sigmas = None if SCHEDULERS[name].options.get("use_flow_sigmas") else [1.0, 0.8, 0.6, 0.4, 0.2]
    retrieve_timesteps(scheduler, STEPS, "cpu", sigmas=sigmas, mu=MU)
    options = {"mu": MU} if sigmas is None else {"mu": MU, "sigmas": sigmas}
    made = make_schedule(TimestepSpec(name, STEPS, options=json.dumps(options)), config, CPU)
    check_steps(
        spec(scheduler=name, num_inference_steps=STEPS),
        config,
        TimestepSpec(name, STEPS, options=json.dumps(options)),
    )
    assert torch.equal(made.timesteps, scheduler.timesteps)
    assert torch.equal(made.scheduler.sigmas, scheduler.sigmas)


@pytest.mark.parametrize("name", FLOW_MATCH_SCHEDULERS)
@pytest.mark.parametrize("shift", [None, 1.5])
def test_a_static_shift_is_the_jobs_or_the_models(name: str, shift: float | None) -> None:
    option = str(SCHEDULERS[name].shift_option)
    scheduler = plain_scheduler(name, STATIC, **({} if shift is None else {option: shift}))
    scheduler.set_timesteps(STEPS)
    made = make_schedule(TimestepSpec(name, STEPS, shift=shift), STATIC, CPU)
    assert made.scheduler.config[option] == (STATIC["shift"] if shift is None else shift)
    assert torch.equal(made.timesteps, scheduler.timesteps)
    assert torch.equal(made.scheduler.sigmas, scheduler.sigmas)


@pytest.mark.parametrize("name", ["unipc_flow", "dpmpp_2m_flow"])
def test_a_model_with_a_scheduler_of_flow_sigmas_keeps_its_shift(name: str) -> None:
    kind = SCHEDULERS[name]
    config = {"num_train_timesteps": 1000, "flow_shift": 3.0, **kind.options}
    scheduler = getattr(diffusers, kind.name).from_config(config)
    scheduler.set_timesteps(STEPS)
    made = make_schedule(TimestepSpec(name, STEPS), config, CPU)
    assert made.scheduler.config["flow_shift"] == 3.0
    assert torch.equal(made.timesteps, scheduler.timesteps)
    assert torch.equal(made.scheduler.sigmas, scheduler.sigmas)
    asked = make_schedule(TimestepSpec(name, STEPS, shift=2.0), config, CPU)
    assert asked.scheduler.config["flow_shift"] == 2.0


@pytest.mark.parametrize("strength", [0.15, 0.55, 1.0])
@pytest.mark.parametrize("name", ["flow_match_euler", "flow_match_euler_karras", "flow_match_heun"])
def test_an_image_leaves_the_steps_that_the_pipeline_runs(name: str, strength: float) -> None:
    scheduler = plain_scheduler(name, STATIC)
    scheduler.set_timesteps(STEPS)
    pipeline = SimpleNamespace(scheduler=scheduler)
    expected, _ = diffusers.StableDiffusion3Img2ImgPipeline.get_timesteps(pipeline, STEPS, strength, "cpu")
    latents, noise = torch.ones(1, 4), torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    begun = scheduler.scale_noise(latents, expected[:1], noise)
    made = make_schedule(TimestepSpec(name, STEPS, strength=strength), STATIC, CPU)
    assert torch.equal(made.timesteps, expected)
    found = made.noised(latents, noise, 0)
    assert torch.equal(found, begun)
    for step, t in enumerate(expected):
        begun = scheduler.step(torch.tanh(begun), t, begun, return_dict=False)[0]
        found = made.step(torch.tanh(found), step, found, {})
    assert torch.equal(found, begun)


def test_the_jobs_mu_and_shift_count_before_the_models() -> None:
    job = spec(scheduler="flow_match_euler", mu=0.3)
    assert json.loads(TimestepSpec.of(job, {"mu": MU}).options) == {"mu": 0.3}
    assert TimestepSpec.of(spec(scheduler="flow_match_euler", shift=2.0)).shift == 2.0


@pytest.mark.parametrize("name", FLOW_MATCH_SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_every_scheduler_of_flow_matching_runs_to_its_end(name: str, steps: int) -> None:
    check_steps(spec(scheduler=name, num_inference_steps=steps), STATIC)


def test_an_error_of_diffusers_without_a_text_is_told_by_its_kind() -> None:
    with pytest.raises(InvalidRequest, match=r"cannot walk 5: AssertionError\(\)"):
        check_steps(
            spec(scheduler="dpmpp_2m_flow", num_inference_steps=5),
            STATIC,
            TimestepSpec("dpmpp_2m_flow", 5, options=json.dumps({"mu": MU})),
        )


@pytest.mark.parametrize("name", ["dpmpp_2m_flow", "unipc_flow"])
def test_a_large_flux_whose_first_timesteps_are_equal_runs_as_in_its_pipeline(name: str) -> None:
    steps, options = 45, {"mu": calculate_shift((2048 // 16) ** 2)}
    scheduler = plain_scheduler(name, DYNAMIC)
    scheduler.set_timesteps(steps, **options)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]
    scheduler.set_begin_index(0)
    job = TimestepSpec(name, steps, options=json.dumps(options), sets_begin_index=True)
    check_steps(spec(scheduler=name, num_inference_steps=steps), DYNAMIC, job)
    made = make_schedule(job, DYNAMIC, CPU)
    found = expected = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    for step, t in enumerate(scheduler.timesteps):
        expected = scheduler.step(torch.tanh(expected), t, expected, return_dict=False)[0]
        found = made.step(torch.tanh(found), step, found, {})
    assert torch.equal(found, expected)
    with pytest.raises(InvalidRequest, match=f"cannot walk {steps}"):  # as Flux's with ControlNets
        check_steps(
            spec(scheduler=name, num_inference_steps=steps), DYNAMIC, job._replace(sets_begin_index=False)
        )


@pytest.mark.parametrize("is_own", [True, False], ids=["of the scheduler", "of the pipeline"])
def test_sigmas_are_the_schedulers_own_where_its_config_says_so(is_own: bool) -> None:
    pipe = make_flux()
    config = {**pipe.scheduler.config, "use_flow_sigmas": is_own}
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config)
    model, job = FluxModel("tiny", pipe), spec(scheduler="flow_match_euler", negative_prompt=None)
    made = make_schedule(TimestepSpec.on_model(job, model), model.scheduler_config, CPU)
    pipe(job.prompt, num_inference_steps=job.num_inference_steps, width=64, height=64, output_type="latent")
    assert torch.equal(made.timesteps, pipe.scheduler.timesteps)
    assert torch.equal(made.scheduler.sigmas, pipe.scheduler.sigmas)
    # And diffusers' other pipelines do not ask
    from_image = job.model_copy(update={"image": "0" * 64, "strength": 1.0})
    assert "sigmas" in model.timestep_options(from_image)
    asked = job.model_copy(update={"sigmas": [1.0, 0.5]})
    if is_own:
        with pytest.raises(InvalidRequest, match="use_flow_sigmas"):
            model.timestep_options(asked)
    else:
        assert model.timestep_options(asked)["sigmas"] == [1.0, 0.5]
