"""What a worker accepts and refuses is what diffusers walks to the end with finite values and what not."""

import inspect
import json
import random
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch

from shared.catalog.schedulers import DIFFUSION_SCHEDULERS, SCHEDULERS, step_limits
from shared.errors import InvalidRequest
from shared.families.unet import SDXL
from shared.keys import LOCAL
from tests.scheduler_config import SD_SCHEDULER
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from workers.unet.job import execute_job
from workers.unet.timesteps.dry_run import check_steps, find_schedule_error
from workers.unet.timesteps.schedule import TimestepSpec
from workers.unet.worker import UNetWorker

_SD = SD_SCHEDULER | {"_class_name": "PNDMScheduler", "num_train_timesteps": 1000}
CONFIGS: dict[str, dict[str, Any]] = {
    "sd": _SD,
    "emoji": json.loads((EMOJI / "model/scheduler/scheduler_config.json").read_text()),
    "zero-snr": {
        **_SD,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
    "few-trained": {**_SD, "num_train_timesteps": 50, "timestep_spacing": "trailing"},
    "fewest-trained": {**_SD, "num_train_timesteps": 10},
    "cosine": {**_SD, "beta_schedule": "squaredcos_cap_v2"},
    "sigma-min": {**_SD, "beta_schedule": "linear", "final_sigmas_type": "sigma_min"},
}


def is_walked(steps: TimestepSpec, config: dict[str, Any]) -> bool:
    """Whether diffusers walks to the end with finite values, as one of its pipelines calls it."""
    kind = SCHEDULERS[steps.scheduler]
    try:
        scheduler = getattr(diffusers, kind.name).from_config(config, **kind.options)
        scheduler.set_timesteps(steps.num_inference_steps)
        known = inspect.signature(scheduler.step).parameters
        options = {"generator": torch.Generator()} if "generator" in known else {}
        x = torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(3)) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            noise = torch.tanh(scheduler.scale_model_input(x, t))
            x = scheduler.step(noise, t, x, **options, return_dict=False)[0]
    except Exception:
        return False
    return bool(x.isfinite().all())


def _sample() -> list[tuple[str, TimestepSpec]]:
    """Some schedulers with some configs at random numbers, and both sides of limits that are known."""
    choice = random.Random(5)
    cells = [
        (config, scheduler)
        for config in CONFIGS
        for scheduler in DIFFUSION_SCHEDULERS
        if "dpm2" not in scheduler
    ]
    rows = [
        (config, TimestepSpec(scheduler, choice.choice([1, 2, 3, 5, 9, 10, 11, 19, 21, 24, 32])))
        for config, scheduler in choice.sample(cells, 70)
        if not scheduler.startswith("lms")  # as slow as dpm2, and without a limit
    ]
    for config, scheduler in (("sd", "unipc_beta"), ("emoji", "dpmpp_sde_beta"), ("emoji", "pndm")):
        least, most = step_limits(scheduler, CONFIGS[config])
        rows += [
            (config, TimestepSpec(scheduler, steps))
            for steps in (least - 1, least, most, most + 1)
            if 0 < steps < 100
        ]
    return rows


def test_the_verdict_on_every_scheduler_is_that_of_diffusers() -> None:
    differing = [
        (name, steps)
        for name, steps in _sample()
        if (find_schedule_error(steps, json.dumps(CONFIGS[name])) is None) != is_walked(steps, CONFIGS[name])
    ]
    assert differing == []


@pytest.mark.parametrize(
    "scheduler",
    [f"{name}_beta" for name in ("dpmpp_2m", "deis", "dpmpp_2m_sde", "dpmpp_sde", "sa_solver", "unipc")],
)
def test_too_many_steps_are_refused_naming_the_field_and_a_number_that_works(scheduler: str) -> None:
    check_steps(spec(scheduler=scheduler, num_inference_steps=23), CONFIGS["emoji"])
    with pytest.raises(
        InvalidRequest, match=r"num_inference_steps: .*cannot walk 25.*; 23 steps work"
    ) as caught:
        check_steps(spec(scheduler=scheduler, num_inference_steps=25), CONFIGS["emoji"])
    assert caught.value.field == "num_inference_steps"


def test_the_same_steps_are_walked_from_an_image_on_as_diffusers_walks_them() -> None:
    wanted = {"scheduler": "dpmpp_2m_beta", "num_inference_steps": 40, "image": "0" * 64}
    check_steps(spec(**wanted, strength=0.6), CONFIGS["sd"])
    check_steps(spec(**wanted, strength=1.0, mask_image="0" * 64), CONFIGS["sd"])


def test_sdxls_pipeline_walks_steps_whose_first_timesteps_are_equal() -> None:
    steps = TimestepSpec("dpmpp_2m_beta", 40, sets_begin_index=SDXL.sets_begin_index(has_controlnets=False))
    check_steps(spec(scheduler="dpmpp_2m_beta", num_inference_steps=40), CONFIGS["sd"], steps)
    with pytest.raises(InvalidRequest, match="cannot walk 40"):  # as Stable Diffusion's
        check_steps(spec(scheduler="dpmpp_2m_beta", num_inference_steps=40), CONFIGS["sd"])


def test_lists_of_steps_are_refused_by_their_own_name() -> None:
    check_steps(spec(scheduler="euler", timesteps=[999, 500, 1]), CONFIGS["sd"])
    with pytest.raises(InvalidRequest, match="timesteps: ") as caught:
        check_steps(spec(scheduler="ddpm", timesteps=[999, 20]), CONFIGS["fewest-trained"])
    assert caught.value.field == "timesteps"


@pytest.mark.parametrize(
    "config",
    [{"beta_schedule": "unheard of"}, {"prediction_type": "unheard of"}, {"use_karras_sigmas": True}],
)
def test_a_config_that_a_scheduler_cannot_use_is_refused_by_the_scheduler(config: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidRequest, match=r"scheduler: .*'euler_beta'.*'emoji-sd' does not work"
    ) as caught:
        check_steps(spec(scheduler="euler_beta"), CONFIGS["sd"] | config)
    assert caught.value.field == "scheduler"


def test_a_strength_that_leaves_no_step_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidRequest, match="strength") as caught:
        check_steps(spec(num_inference_steps=4, strength=0.1, image="0" * 64), CONFIGS["sd"])
    assert caught.value.field == "strength"


def test_a_job_with_too_many_steps_fails_before_its_first(make_worker: Callable[..., UNetWorker]) -> None:
    worker = make_worker(serve_controlnets=False)
    job_id, _ = worker.jobs.create(spec(scheduler="dpmpp_2m_beta", num_inference_steps=25), tenant=LOCAL)
    with pytest.raises(InvalidRequest, match="num_inference_steps"):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert (job.status, job.step) == ("failed", 0)
    assert job.error is not None
    assert job.error.code == "invalid_request"
    assert "num_inference_steps" in job.error.detail
    assert {span.name for span in job.timeline} <= {"queued", "model"}
