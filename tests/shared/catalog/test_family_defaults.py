"""Defaults and limits that a catalog takes from the families of its models."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.catalog.catalog import read_catalog
from shared.catalog.model_families import ModelFamilies
from shared.errors import InvalidSetting
from shared.families.flux import FLUX as FACTS
from shared.settings import ROOT, Settings

FLUX = {"transformer/config.json": {"_class_name": "FluxTransformer2DModel"}}
SD1: dict[str, Any] = {"unet/config.json": {"cross_attention_dim": 768}}


def catalog(folder: Path, entry: str = "", configs: dict[str, Any] | None = None) -> Path:
    for name, config in {"model_index.json": {}, **(FLUX if configs is None else configs)}.items():
        (folder / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "base" / name).write_text(json.dumps(config))
    path = folder / "catalog.toml"
    path.write_text(f'default_model = "m"\n[models.m]\nsource = "base"\n{entry}\n')
    return path


@pytest.mark.parametrize(
    ("configs", "expected"),
    [(FLUX, ("flow_match_euler", 28, 3.5)), (SD1, ("ddim", 30, 7.5)), ({}, ("ddim", 30, 7.5))],
    ids=["flux", "sd1", "unknown"],
)
def test_what_an_entry_leaves_out_is_its_familys(
    tmp_path: Path, configs: dict[str, Any], expected: tuple[str, int, float]
) -> None:
    model = read_catalog(catalog(tmp_path, configs=configs)).models["m"]
    assert (model.scheduler, model.num_inference_steps, model.guidance_scale) == expected


def test_a_hub_model_has_what_its_entry_names_and_else_what_stable_diffusion_has(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    document = (ROOT / "infra/docs/operations.md").read_text()
    documented = document.split("[models.flux-hub]", 1)[1].split("```", 1)[0]
    path.write_text(
        f'default_model = "flux-hub"\n[models.flux-hub]{documented}'
        '[models.bare]\nsource = "hub:black-forest-labs/FLUX.1-dev"\n'
    )
    models = read_catalog(path).models
    found = [(each.scheduler, each.num_inference_steps, each.guidance_scale) for each in models.values()]
    assert found == [tuple(FACTS.defaults), ("ddim", 30, 7.5)]


def test_what_an_entry_says_counts(tmp_path: Path) -> None:
    entry = 'scheduler = "FlowMatchLCMScheduler"\nnum_inference_steps = 4'
    with pytest.raises(InvalidSetting, match="did you mean flow_match_lcm"):
        read_catalog(catalog(tmp_path, entry))
    model = read_catalog(
        catalog(tmp_path, 'scheduler = "flow_match_lcm"\nnum_inference_steps = 4\nguidance_scale = 7.5')
    ).models["m"]
    assert (model.scheduler, model.num_inference_steps, model.guidance_scale) == ("flow_match_lcm", 4, 7.5)


@pytest.mark.parametrize("denoiser", ["SD3Transformer2DModel", "QwenImageTransformer2DModel"])
def test_a_default_above_the_operators_limit_stops_no_start(denoiser: str, tmp_path: Path) -> None:
    path = catalog(tmp_path, configs={"transformer/config.json": {"_class_name": denoiser}})
    settings = Settings(max_steps=40)
    families = ModelFamilies(path, read_catalog(path, settings))
    assert families.job_defaults("m", "image", has_controlnets=False).num_inference_steps > 40


def test_a_side_that_the_model_has_no_positions_for_stops_the_start(tmp_path: Path) -> None:
    configs: dict[str, Any] = {
        "transformer/config.json": {"_class_name": "SD3Transformer2DModel", "pos_embed_max_size": 96},
        "vae/config.json": {"block_out_channels": [128, 256, 512, 512]},
    }
    with pytest.raises(InvalidSetting, match=r"models\.m\.height: is 1552; the model allows at most 1536"):
        read_catalog(catalog(tmp_path, "width = 1536\nheight = 1552", configs))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('scheduler = "ddim"', "line 4: models.m.scheduler: 'ddim' is not for Flux.1; it takes"),
        ("width = 1000", "line 4: models.m.width: is 1000; of Flux.1 it must be a multiple of 16"),
        (
            'scheduler = "dpmpp_2m_flow"',
            "line 4: models.m.scheduler: 'dpmpp_2m_flow' does not work: it needs a model whose ",
        ),
    ],
)
def test_what_the_family_cannot_do_stops_the_start(tmp_path: Path, entry: str, why: str) -> None:
    static = {**FLUX, "scheduler/scheduler_config.json": {"shift": 1.0}}
    with pytest.raises(InvalidSetting, match=why.replace(".", r"\.")):
        read_catalog(catalog(tmp_path, entry, static))
