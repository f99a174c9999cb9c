"""Options of a model's scheduler config in the catalog: known names and values, or the start is stopped."""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler

from shared.catalog.catalog import read_catalog
from shared.catalog.model_families import ModelFamilies
from shared.catalog.scheduler_options import DIFFUSION_OPTIONS, SHIFT_OPTIONS
from shared.catalog.schedulers import SCHEDULERS
from shared.errors import InvalidSetting

DYNAMIC = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0, "use_dynamic_shifting": True}
MODELS: dict[str, dict[str, Any]] = {
    "qwen": {
        "transformer/config.json": {"_class_name": "QwenImageTransformer2DModel"},
        "scheduler/scheduler_config.json": {**DYNAMIC, "shift_terminal": 0.02, "stochastic_sampling": False},
    },
    "flux": {
        "transformer/config.json": {"_class_name": "FluxTransformer2DModel"},
        "scheduler/scheduler_config.json": DYNAMIC,
    },
    "unipc": {
        "transformer/config.json": {"_class_name": "FluxTransformer2DModel"},
        "scheduler/scheduler_config.json": {
            "_class_name": "UniPCMultistepScheduler",
            "use_flow_sigmas": True,
        },
    },
    "sd1": {
        "unet/config.json": {"cross_attention_dim": 768},
        "scheduler/scheduler_config.json": {"timestep_spacing": "leading", "trained_betas": None},
    },
}


def catalog(folder: Path, model: str, options: str) -> Path:
    for name, config in {"model_index.json": {}, **MODELS[model]}.items():
        (folder / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "base" / name).write_text(json.dumps(config))
    path = folder / "catalog.toml"
    path.write_text(
        f'default_model = "m"\n[models.m]\nsource = "base"\n[models.m.scheduler_config]\n{options}\n'
    )
    return path


def test_options_of_diffusion_are_those_of_diffusers() -> None:
    kinds = [inspect.signature(getattr(diffusers, kind.name)).parameters for kind in SCHEDULERS.values()]
    for name, default in DIFFUSION_OPTIONS.items():
        assert any(name in known and known[name].default == default for known in kinds), name


def test_options_of_a_shift_are_those_of_diffusers() -> None:
    known = inspect.signature(FlowMatchEulerDiscreteScheduler).parameters
    assert {name: known[name].default for name in SHIFT_OPTIONS} == SHIFT_OPTIONS


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (
            "qwen",
            'base_shift = 1.0986\nmax_shift = 1.0986\nshift_terminal = "none"',
            {"base_shift": 1.0986, "max_shift": 1.0986, "shift_terminal": None},
        ),
        ("flux", "shift_terminal = 0.1\nuse_dynamic_shifting = false", {"use_dynamic_shifting": False}),
        ("flux", 'max_shift = 1\ntime_shift_type = "linear"', {"max_shift": 1, "time_shift_type": "linear"}),
        ("unipc", "flow_shift = 3.0", {"flow_shift": 3.0}),
        ("sd1", 'timestep_spacing = "trailing"', {"timestep_spacing": "trailing"}),
        ("sd1", "rescale_betas_zero_snr = true", {"rescale_betas_zero_snr": True}),
    ],
)
def test_an_option_stands_in_place_of_the_models_own(
    tmp_path: Path, model: str, options: str, expected: dict[str, Any]
) -> None:
    path = catalog(tmp_path, model, options)
    config = ModelFamilies(path, read_catalog(path)).scheduler_config("m")
    assert config is not None
    assert expected.items() <= config.items()
    own = MODELS[model]["scheduler/scheduler_config.json"]
    assert {name: config[name] for name in own.keys() - expected.keys()}.items() <= own.items()


@pytest.mark.parametrize(
    ("model", "options", "name", "why"),
    [
        ("flux", "base_shfit = 1.0", "base_shfit", "is no option of the model's scheduler; it has base_im"),
        ("flux", "_class_name = 'x'", "_class_name", "is no option"),
        ("flux", "flow_shift = 1.0", "flow_shift", "is no option"),
        (
            "sd1",
            "base_shift = 1.0",
            "base_shift",
            "is no option of the model's scheduler; it has beta_end",
        ),
        ("flux", "max_shift = '1.0'", "max_shift", "is a text; must be a number"),
        ("flux", "max_shift = true", "max_shift", "is true or false; must be a number"),
        ("flux", "max_shift = 'none'", "max_shift", "is null ('none'); must be a number"),
        ("flux", "use_dynamic_shifting = 1", "use_dynamic_shifting", "is a number; must be true or false"),
        ("flux", "shift_terminal = true", "shift_terminal", "must be a number or null"),
        ("flux", "time_shift_type = 'log'", "time_shift_type", "must be 'exponential' or 'linear'"),
        (
            "sd1",
            "timestep_spacing = 'trailng'",
            "timestep_spacing",
            "must be 'leading' or 'linspace' or 'trai",
        ),
        ("sd1", "prediction_type = 'v'", "prediction_type", "must be 'epsilon' or 'sample' or 'v_pred"),
        ("sd1", "steps_offset = 0.5", "steps_offset", "is 0.5; must be a whole number, at least 0"),
        ("sd1", "num_train_timesteps = 1e3", "num_train_timesteps", "must be a whole number, at least 1"),
        ("sd1", "num_train_timesteps = 0", "num_train_timesteps", "is 0; must be a whole number, at least 1"),
        ("unipc", "shift = 3.0", "shift", "is no option of the model's scheduler; it has base_image_seq_len"),
        ("unipc", "flow_shift = true", "flow_shift", "is true or false; must be a number"),
        ("flux", "shift = 0", "shift", "is 0; must be above 0"),
        ("qwen", "stochastic_sampling = 0.5", "stochastic_sampling", "must be true or false"),
        ("flux", "max_image_seq_len = 256", "max_image_seq_len", "must differ"),
    ],
)
def test_an_option_that_does_not_fit_stops_the_start(
    tmp_path: Path, model: str, options: str, name: str, why: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_catalog(catalog(tmp_path, model, options))
    assert f"line 5: models.m.scheduler_config.{name}: " in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize("options", ["max_shift = nan", "max_shift = inf", "max_shift = [1.0]"])
def test_a_value_of_no_option_stops_the_start(tmp_path: Path, options: str) -> None:
    with pytest.raises(InvalidSetting, match=r"models\.m\.scheduler_config"):
        read_catalog(catalog(tmp_path, "flux", options))
