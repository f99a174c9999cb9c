"""ControlNets of Z-Image in single files, as their authors publish them: weights alone."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import ZImageControlNetModel
from diffusers.loaders.single_file_utils import infer_diffusers_model_type
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.catalog.catalog import read_catalog
from shared.catalog.controlnet_files import derive_config
from shared.catalog.model_families import ModelFamilies
from shared.errors import ModelFailed
from shared.families.z_image_controlnet_file import controlnet_config, noise_refiner
from shared.storage.safetensors_header import read_header
from tests.tiny_transformers import ZImageControlNetKind, make_z_image, make_z_image_controlnet
from workers.families.base_controlnet import ControlNet
from workers.families.load_controlnet import load_controlnet

WEIGHTS = "diffusion_pytorch_model.safetensors"
#: The configs with which diffusers and VideoX-Fun load what is published.
PLACES = {"1.0": range(0, 30, 5), "2.0": range(0, 30, 2), "2.1": range(0, 30, 2), "lite": range(0, 30, 10)}


def make(version: str) -> Any:
    """A tiny ControlNet with as many control layers as those that are published."""
    kind: ZImageControlNetKind = "2.1" if version == "lite" else version  # type: ignore[assignment]
    return make_z_image_controlnet(kind, control_layers_places=list(PLACES[version]))


@pytest.fixture(params=PLACES)
def version(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A base model ``m``, and a ControlNet in a folder ``n`` and in a file."""
    make_z_image().save_pretrained(tmp_path / "m")
    make(request.param).save_pretrained(tmp_path / "n")
    save_file(load_file(tmp_path / "n" / WEIGHTS), tmp_path / "n.safetensors")
    return str(request.param)


def load(folder: Path, name: str = "n.safetensors", config: str | None = None) -> ControlNet:
    at = None if config is None else str(folder / config)
    return load_controlnet("n", str(folder / name), "float32", "cpu", base=str(folder / "m"), config=at)


def refusal(folder: Path, config: str | None = None) -> str:
    with pytest.raises(ModelFailed, match=r"ControlNet 'n' .* cannot be loaded") as refused:
        load(folder, config=config)
    return str(refused.value)


def with_refiners(weights: dict[str, Tensor], before_proj: float) -> dict[str, Tensor]:
    """A file of 2.0 as its authors have it, with refiners that it does not use."""
    name = "control_noise_refiner.0.before_proj.weight"
    return {**weights, name: torch.full((2, 2), before_proj), name.replace("weight", "bias"): torch.ones(2)}


def test_a_file_is_loaded_without_a_config(version: str, tmp_path: Path) -> None:
    loaded, wanted = load(tmp_path), load(tmp_path, "n")
    assert loaded.sha256 == wanted.sha256
    config, own = loaded.model.config, wanted.model.config
    unread = {"control_refiner_layers_places"} if version == "1.0" else set()
    names = {name for name in own if not name.startswith("_")} - unread
    assert {name: listed(config[name]) for name in names} == {name: listed(own[name]) for name in names}
    assert load(tmp_path, config="n").sha256 == wanted.sha256


def test_the_web_knows_what_a_file_is(version: str, tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(
        'default_model = "m"\n[models.m]\nsource = "m"\n'
        '[controlnets.n]\nsource = "n"\nmodel = "m"\n'
        '[controlnets.file]\nsource = "n.safetensors"\nmodel = "m"\n'
    )
    known = ModelFamilies(tmp_path / "catalog.toml", read_catalog(tmp_path / "catalog.toml"))
    assert known.controlnet("file") is not None
    assert known.controlnet("file") == known.controlnet("n")


def test_refiners_of_a_file_of_2_0_are_left_out_if_they_are_zero(tmp_path: Path) -> None:
    make_z_image().save_pretrained(tmp_path / "m")
    make("2.0").save_pretrained(tmp_path / "n")
    weights = load_file(tmp_path / "n" / WEIGHTS)
    save_file(with_refiners(weights, 0.0), tmp_path / "n.safetensors")
    wanted = load(tmp_path, "n").sha256
    assert load(tmp_path).sha256 == wanted
    assert load(tmp_path, config="n").sha256 == wanted
    # Then a file of 2.1 beside a config of 2.0 is refused: it would load without its refiners
    save_file(with_refiners(weights, 1.0), tmp_path / "n.safetensors")
    text = refusal(tmp_path, config="n")
    assert "its weights are of version 2.1, add_control_noise_refiner 'control_noise_refiner'" in text
    assert "its config says 'control_layers'" in text


@pytest.mark.parametrize(("weights", "config"), [*permutations(("1.0", "2.0", "2.1"), 2)])
def test_a_config_of_another_version_is_refused_by_both_versions(
    tmp_path: Path, weights: ZImageControlNetKind, config: ZImageControlNetKind
) -> None:
    # Given two that do not differ but in their version
    make_z_image().save_pretrained(tmp_path / "m")
    alike = {"control_layers_places": [0, 2, 4], "control_in_dim": 9}
    make_z_image_controlnet(weights, **alike).save_pretrained(tmp_path / "n")
    (tmp_path / "n" / WEIGHTS).rename(tmp_path / "n.safetensors")
    make_z_image_controlnet(config, **alike).save_pretrained(tmp_path / "other")
    # Then the one's weights are not loaded with the other's config
    text = refusal(tmp_path, config="other")
    assert f"its weights are of version {weights}" in text
    assert text.endswith(f", version {config}")
    load(tmp_path, config="n")


def test_a_config_that_says_no_version_is_refused_as_such(tmp_path: Path) -> None:
    make_z_image().save_pretrained(tmp_path / "m")
    make("2.1").save_pretrained(tmp_path / "n")
    (tmp_path / "n" / WEIGHTS).rename(tmp_path / "n.safetensors")
    config = json.loads((tmp_path / "n/config.json").read_text())
    del config["add_control_noise_refiner"]
    (tmp_path / "n/config.json").write_text(json.dumps(config))
    assert "version 2.1" in (text := refusal(tmp_path, config="n"))
    assert "its config says None" in text


def test_layers_that_the_authors_spread_in_no_such_way_need_a_config(tmp_path: Path) -> None:
    make_z_image().save_pretrained(tmp_path / "m")
    make_z_image_controlnet("2.1", control_layers_places=[0, 2, 3, 5]).save_pretrained(tmp_path / "n")
    (tmp_path / "n" / WEIGHTS).rename(tmp_path / "n.safetensors")
    assert derive_config(read_header(tmp_path / "n.safetensors").tensors) is None
    assert "its catalog key config must name a folder" in refusal(tmp_path)
    assert load(tmp_path, config="n").model.config.control_layers_places == [0, 2, 3, 5]


@pytest.mark.parametrize("before_proj", [None, 0.0, 1.0])
@pytest.mark.parametrize("layers", [6, 15])
def test_versions_are_told_apart_as_diffusers_does(layers: int, before_proj: float | None) -> None:
    names = ["control_all_x_embedder.2-1.weight", "control_noise_refiner.0.adaLN_modulation.0.weight"]
    names += [f"control_layers.{i}.adaLN_modulation.0.weight" for i in range(layers)]
    weights = dict.fromkeys(names, torch.ones(1))
    if before_proj is not None and layers == 15:
        weights = with_refiners(weights, before_proj)
    theirs = infer_diffusers_model_type(weights).removeprefix("z-image-turbo-controlnet")
    own = noise_refiner(weights, before_proj_is_zero=before_proj == 0.0)
    assert {None: "", "control_layers": "-2.0", "control_noise_refiner": "-2.1"}[own] == theirs


#: The authors' own configs, and how `ZImageControlNetModel` calls their refiners.
PUBLISHED: dict[str, dict[str, Any]] = {
    "1.0": {
        "control_layers_places": [0, 5, 10, 15, 20, 25],
        "control_refiner_layers_places": [0, 1],  # which it does not read
        "control_in_dim": 16,
        "add_control_noise_refiner": None,
    },
    "2.0": {
        "control_layers_places": [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28],
        "control_refiner_layers_places": [0, 1],
        "control_in_dim": 33,
        "add_control_noise_refiner": "control_layers",
    },
    "2.1": {
        "control_layers_places": [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28],
        "control_refiner_layers_places": [0, 1],
        "control_in_dim": 33,
        "add_control_noise_refiner": "control_noise_refiner",
    },
    "2.1 lite": {
        "control_layers_places": [0, 10, 20],
        "control_refiner_layers_places": [0, 1],
        "control_in_dim": 33,
        "add_control_noise_refiner": "control_noise_refiner",
    },
}


@pytest.mark.parametrize("version", PUBLISHED)
def test_the_config_at_full_size_is_that_of_the_published_files(version: str) -> None:
    with init_empty_weights():
        model = ZImageControlNetModel(**PUBLISHED[version])
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    config = controlnet_config(shapes)
    assert config is not None
    described = {**config, "add_control_noise_refiner": noise_refiner(shapes, before_proj_is_zero=False)}
    with init_empty_weights():
        derived = ZImageControlNetModel.from_config(described).config
    names = {name for name in model.config if not name.startswith("_")}
    assert {name: listed(derived[name]) for name in names} == {
        name: listed(model.config[name]) for name in names
    }


def test_diffusers_takes_a_lite_file_for_one_of_version_1_0_which_has_other_layers() -> None:
    with init_empty_weights():
        lite = ZImageControlNetModel(**PUBLISHED["2.1 lite"]).state_dict()
        guessed = ZImageControlNetModel(**PUBLISHED["1.0"]).state_dict()
    assert infer_diffusers_model_type(dict(lite)) == "z-image-turbo-controlnet"
    assert guessed.keys() - lite.keys()
    assert noise_refiner(lite, before_proj_is_zero=False) == "control_noise_refiner"


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("control_all_x_embedder.2-1.weight", ()),
        ("control_all_x_embedder.2-1.weight", (100, 132)),
        ("control_layers.0.attention.to_k.weight", (3840,)),
        ("control_layers.0.attention.norm_q.weight", (0,)),
    ],
)
def test_shapes_of_no_such_model_tell_no_config(name: str, shape: tuple[int, ...]) -> None:
    with init_empty_weights():
        model = ZImageControlNetModel(control_layers_places=[0, 10, 20], control_in_dim=33)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert controlnet_config(shapes) is not None
    assert controlnet_config({**shapes, name: torch.Size(shape)}) is None
