"""A ControlNet that was warmed up captures nothing at its first step."""

import json
from pathlib import Path

import pytest

from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.fake_graphs import GraphDevice
from tests.tiny_models import make_controlnet, make_unet, make_union
from workers.engines.graphs import GraphEngine
from workers.engines.selection import Engines
from workers.families.controlnet_warm_up import usual_step, warm_up_controlnet
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.controlnet_union import UNetControlNetUnion
from workers.runtime.warm_up import ROUNDS, WarmUp


@pytest.mark.parametrize("layout", ["sd1", "sdxl", "union"])
def test_a_warm_up_captures_every_stage_of_a_controlnet(layout: str) -> None:
    controlnet: UNetControlNet
    if layout == "union":
        controlnet = UNetControlNetUnion(layout, make_union(make_unet("sdxl")))
    else:
        controlnet = UNetControlNet(layout, make_controlnet(make_unet(layout)))
    device = GraphDevice()
    controlnet.engines = Engines(GraphEngine(device, layout))
    warm_up = WarmUp(layout, ROUNDS)
    warm_up_controlnet(controlnet, (64, 64), 2, warm_up)
    assert warm_up.problems() == [f"warming up {layout}: 100 %"]
    assert len(device.pools[0].graphs) == 1 + len(controlnet.groups)


def test_the_usual_step_is_that_of_the_first_base_model(tmp_path: Path) -> None:
    settings = Settings()
    catalog = read_catalog(settings.catalog)
    assert usual_step(catalog, settings, "edge") == ((64, 64), 2)
    model = catalog.models["emoji-sd"].model_copy(update={"guidance_scale": 1.0, "width": 128})
    changed = catalog.model_copy(update={"models": {"emoji-sd": model}})
    assert usual_step(changed, settings, "edge") == ((128, 64), 1)


@pytest.mark.parametrize(
    ("kind", "guidance_scale", "rows"),
    [
        ("FluxTransformer2DModel", 3.5, 1),
        ("QwenImageTransformer2DModel", 4.0, 1),
        ("SD3Transformer2DModel", 7.0, 2),
        ("SD3Transformer2DModel", 1.0, 1),
        ("ZImageTransformer2DModel", 0.5, 2),
        ("ZImageTransformer2DModel", 0.0, 1),
    ],
)
def test_a_usual_step_has_the_rows_that_the_family_asks_for(
    tmp_path: Path, kind: str, guidance_scale: float, rows: int
) -> None:
    for part, config in (("transformer", {"_class_name": kind}), ("vae", {"block_out_channels": [1] * 4})):
        (tmp_path / "model" / part).mkdir(parents=True)
        (tmp_path / "model" / part / "config.json").write_text(json.dumps(config))
    (tmp_path / "model" / "model_index.json").write_text("{}")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text("{}")
    path = tmp_path / "catalog.toml"
    path.write_text(
        f'default_model = "m"\n[models.m]\nsource = "model"\nguidance_scale = {guidance_scale}\n'
        'width = 64\nheight = 64\n[controlnets.net]\nsource = "net"\nmodel = "m"\n'
    )
    settings = Settings(catalog=path)
    assert usual_step(read_catalog(path), settings, "net") == ((64, 64), rows)
