"""The workloads' models are what the fleet serves, and the same wherever they are made."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from infra.bench.workloads.models import RECIPES, Recipe, open_workload
from infra.bench.workloads.workload import Workload
from shared.catalog.catalog import read_catalog
from shared.catalog.entries import locate
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora

TOY = Recipe((32, 32, 64, 64), 64, 64, ("toy-controlnet1", "toy-controlnet2"), vae_channels=8, text_layers=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return open_workload("toy", TOY, tmp_path_factory.mktemp("models"))


def bytes_of(workload: Workload) -> dict[Path, bytes]:
    return {
        path.relative_to(workload.folder): path.read_bytes()
        for path in workload.folder.rglob("*.safetensors")
    }


def test_the_same_bytes_are_made_twice(toy: Workload, tmp_path: Path) -> None:
    assert bytes_of(open_workload("toy", TOY, tmp_path)) == bytes_of(toy)


def test_what_is_there_is_not_made_again(toy: Workload) -> None:
    made = toy.catalog.stat().st_mtime_ns
    again = open_workload("toy", TOY, toy.folder.parent)
    assert again == toy
    assert again.catalog.stat().st_mtime_ns == made


def test_its_catalog_names_what_the_fleet_can_load(toy: Workload) -> None:
    catalog = read_catalog(toy.catalog)
    assert locate(toy.catalog, catalog.models[toy.name].source) == toy.model
    assert catalog.controlnets_of("toy") == list(toy.controlnets)
    model = load_model(toy.name, str(toy.model), "float32", "cpu")
    assert model.size(None, None) == (toy.side_px, toy.side_px)
    hashes = {
        load_controlnet(name, str(toy.controlnet(name)), "float32", "cpu").sha256 for name in toy.controlnets
    }
    assert len(hashes) == len(toy.controlnets)


def test_its_loras_fit_its_model(toy: Workload) -> None:
    unet = UNet2DConditionModel.from_pretrained(toy.model, subfolder="unet")
    one, other = (read_lora(path, UNetLoraTargets({"unet": unet})) for path in toy.loras)
    assert len(one.parts["unet"]) == len(other.parts["unet"]) == 236
    assert one.sha256 != other.sha256


@pytest.mark.parametrize(("name", "millions"), [("mid", 110.8), ("sd15", 859.5)])
def test_the_real_ones_have_the_size_they_are_named_for(name: str, millions: float) -> None:
    recipe = RECIPES[name]
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=recipe.channels, cross_attention_dim=recipe.cross_attention_dim
        )
    assert round(sum(weight.numel() for weight in unet.parameters()) / 1e6, 1) == millions
