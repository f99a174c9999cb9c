"""The Flux workload is what the fleet serves, and the same wherever it is made."""

from pathlib import Path

import pytest
import torch
from diffusers import FluxControlNetModel

from infra.bench.parts.loading.start import FLUX_PARAMETERS_M
from infra.bench.workloads.flux import MID, FluxRecipe, make_flux_transformer, open_flux
from infra.bench.workloads.workload import Workload
from shared.catalog.catalog import read_catalog
from tests.infra.bench.workloads.flux_recipes import TOY
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return open_flux("toy", TOY, tmp_path_factory.mktemp("models"))


def bytes_of(workload: Workload) -> dict[Path, bytes]:
    files = workload.folder.rglob("*.safetensors")
    return {path.relative_to(workload.folder): path.read_bytes() for path in files}


def test_the_same_bytes_are_made_twice(toy: Workload, tmp_path: Path) -> None:
    assert bytes_of(open_flux("toy", TOY, tmp_path)) == bytes_of(toy)


def test_its_catalog_names_what_the_fleet_can_load(toy: Workload) -> None:
    catalog = read_catalog(toy.catalog)
    assert catalog.controlnets_of("toy") == list(toy.controlnets)
    model = load_model(toy.name, str(toy.model), "float32", "cpu")
    assert model.facts.name == "flux"
    assert (toy.job_fields["width"], toy.job_fields["height"]) == (toy.side_px, toy.side_px)
    (name,) = toy.controlnets
    load_controlnet(name, str(toy.controlnet(name)), "float32", "cpu", base=str(toy.model))


@pytest.mark.parametrize(
    ("recipe", "millions", "controlnet_millions"),
    [(MID, 186.5, 51.9), (FluxRecipe(), FLUX_PARAMETERS_M, 3301.9)],
)
def test_recipes_have_the_size_they_say(
    recipe: FluxRecipe, millions: float, controlnet_millions: float
) -> None:
    double, single = recipe.controlnet_layers
    with torch.device("meta"):
        transformer = make_flux_transformer(recipe)
        controlnet = FluxControlNetModel(num_layers=double, num_single_layers=single, **recipe.options)
    assert parameters_m(transformer) == pytest.approx(millions, abs=0.05)
    assert parameters_m(controlnet) == pytest.approx(controlnet_millions, abs=0.05)


def parameters_m(model: torch.nn.Module) -> float:
    return sum(weight.numel() for weight in model.parameters()) / 1e6
