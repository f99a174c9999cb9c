"""The scheduler of a loaded model, whose files nobody could read before, takes the catalog's options."""

from typing import Any

import pytest
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from shared.families.base import FamilyFacts
from shared.families.flux import FLUX
from shared.families.unet import SD1
from workers.model_checks.scheduler_override import with_options
from workers.model_checks.weight_files import Unloadable


def test_a_scheduler_without_options_stays_the_models_own() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    assert with_options(scheduler, {}, FLUX) is scheduler


def test_options_override_the_config_and_leave_the_rest() -> None:
    scheduler = DDIMScheduler(beta_start=0.00085, timestep_spacing="leading")
    other = with_options(scheduler, {"timestep_spacing": "trailing"}, SD1)
    assert type(other) is DDIMScheduler
    assert (other.config.beta_start, other.config.timestep_spacing) == (0.00085, "trailing")
    assert scheduler.config.timestep_spacing == "leading"


def test_an_option_of_other_schedulers_is_kept_for_them() -> None:
    other = with_options(PNDMScheduler(), {"rescale_betas_zero_snr": True}, SD1)
    assert DDIMScheduler.from_config(other.config).config.rescale_betas_zero_snr


@pytest.mark.parametrize(
    ("scheduler", "options", "facts"),
    [
        (EulerDiscreteScheduler(), {"rescale_betas_zero_snr": True}, SD1),
        (FlowMatchEulerDiscreteScheduler(shift=3.0), {"use_dynamic_shifting": True}, FLUX),
    ],
)
def test_an_option_that_the_files_leave_out_is_set(
    scheduler: Any, options: dict[str, object], facts: FamilyFacts
) -> None:
    other = with_options(scheduler, options, facts)
    assert options.items() <= dict(other.config).items()
    assert options.items() <= dict(type(other).from_config(other.config).config).items()
    # And what nobody has set is still another class's own default
    assert set(other.config["_use_default_values"]) == set(scheduler.config["_use_default_values"]) - set(
        options
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"base_shfit": 1.0}, "scheduler_config.base_shfit is no option of the model's scheduler"),
        ({"max_shift": "1"}, "scheduler_config.max_shift is a text; must be a number"),
    ],
)
def test_an_option_that_does_not_fit_fails_the_load_by_name(options: dict[str, object], why: str) -> None:
    with pytest.raises(Unloadable, match=why):
        with_options(FlowMatchEulerDiscreteScheduler(), options, FLUX)
