"""Loading Z-Image and its ControlNets from what diffusers saves."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ZImageControlNetModel
from safetensors.torch import load_file, save_file

from infra.tiny_models.z_image import make_z_image, make_z_image_controlnet
from shared.catalog.catalog import read_catalog
from shared.catalog.entries import ControlNetEntry
from shared.errors import ModelFailed
from shared.settings import Settings
from tests.original_names import PREFIXES, z_image_names
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import controlnet_cache, load_controlnet
from workers.families.z_image.base_layers import load_base_layers
from workers.families.z_image.controlnet import ZImageControlNet
from workers.families.z_image.model import ZImageModel
from workers.model_checks.source import check_controlnet_entry
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.weights.loaded import weights_sha256

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("z-image")
    make_z_image().save_pretrained(folder / "base")
    for kind in ("1.0", "2.0", "2.1"):
        make_z_image_controlnet(kind).save_pretrained(folder / kind)
    return folder


def load(folder: Path, kind: str = "2.1", base: str = "base") -> ZImageControlNet:
    controlnet = load_controlnet(kind, str(folder / kind), "float32", "cpu", base=str(folder / base))
    assert isinstance(controlnet, ZImageControlNet)
    return controlnet


def copied(folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A folder in which the base model's weights are changed, by their names."""
    new = tmp_path / "models"
    shutil.copytree(folder, new)
    weights = load_file(new / "base" / "transformer" / WEIGHTS)
    change(weights)
    save_file(weights, new / "base" / "transformer" / WEIGHTS)
    return new


def test_a_base_model_loads_from_its_folder(folder: Path) -> None:
    model = load_model("z", str(folder / "base"), "bfloat16", "cpu")
    assert isinstance(model, ZImageModel)
    assert model.dtype == torch.bfloat16
    assert model.size(None, None) == (1024, 1024)


@pytest.mark.parametrize("kind", ["1.0", "2.0", "2.1"])
def test_a_controlnet_loads_with_the_layers_of_its_base_model(folder: Path, kind: str) -> None:
    model = ZImageControlNetModel.from_transformer(make_z_image_controlnet(kind), make_z_image().transformer)
    loaded = load(folder, kind)
    assert loaded.sha256 == weights_sha256({"controlnet": model})
    assert loaded.model.t_scale == model.t_scale


def test_its_hash_is_that_of_the_base_models_layers_too(folder: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, Any]) -> None:
        weights["context_refiner.0.feed_forward.w1.weight"] += 1

    assert load(copied(folder, tmp_path, change)).sha256 != load(folder).sha256


def test_a_remembered_hash_ends_when_the_base_model_changes(folder: Path, tmp_path: Path) -> None:
    models = copied(folder, tmp_path, lambda weights: None)
    (models / "catalog.toml").write_text(
        'default_model = "base"\n[models.base]\nsource = "base"\n'
        '[controlnets."2.1"]\nsource = "2.1"\nmodel = "base"\n'
    )
    settings = Settings(catalog=models / "catalog.toml", home=tmp_path / "home")
    catalog = read_catalog(settings.catalog)

    def sha256() -> str:
        with controlnet_cache(catalog, settings, DeviceMemory(1 << 30)).use("2.1") as controlnet:
            return controlnet.sha256

    before = sha256()
    assert sha256() == before
    file = models / "base" / "transformer" / WEIGHTS
    weights = load_file(file)
    weights["noise_refiner.1.feed_forward.w1.weight"] += 1
    save_file(weights, file)
    assert sha256() != before


def test_nothing_else_of_the_base_model_is_kept(folder: Path) -> None:
    names = dict(load(folder).model.named_parameters())
    assert "noise_refiner.0.attention.to_q.weight" in names
    assert not [name for name in names if name.startswith(("layers.", "all_final_layer."))]


@pytest.mark.parametrize("prefix", PREFIXES, ids=["prefix", "none"])
def test_a_base_model_in_a_single_file_gives_its_layers(folder: Path, tmp_path: Path, prefix: str) -> None:
    # Given the transformer in one file, by its original names, as they are published
    models = copied(folder, tmp_path, lambda weights: None)
    weights = load_file(models / "base" / "transformer" / WEIGHTS)
    save_file(z_image_names(weights, prefix), models / "base.safetensors")
    config = json.loads((models / "base" / "transformer" / "config.json").read_text())
    of_file = load_base_layers(str(models / "base.safetensors"), config, torch.float32)
    of_folder = load_base_layers(str(models / "base"), config, torch.float32)
    assert weights_sha256({"layers": of_file}) == weights_sha256({"layers": of_folder})


def test_a_base_model_without_a_layer_that_is_needed_is_refused(folder: Path, tmp_path: Path) -> None:
    models = copied(folder, tmp_path, lambda weights: weights.pop("cap_embedder.1.weight"))
    with pytest.raises(
        ModelFailed, match=r"lacks 1 weights that it computes with, such as cap_embedder\.1\.weight"
    ):
        load(models)


def test_layers_that_hold_nan_are_refused(folder: Path, tmp_path: Path) -> None:
    models = copied(folder, tmp_path, lambda weights: weights["x_pad_token"].fill_(float("nan")))
    with pytest.raises(ModelFailed, match="x_pad_token holds a NaN"):
        load(models)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"control_layers_places": [0, 4, 2]}, "its control_layers_places [0, 4, 2] do not rise from 0"),
        ({"control_layers_places": [1, 2]}, "its control_layers_places [1, 2] do not rise from 0"),
        ({"control_layers_places": []}, "its control_layers_places [] do not rise from 0"),
        ({"control_layers_places": None}, "its control_layers_places None do not rise from 0"),
        ({"all_patch_size": [4]}, "it has no embedder of patches of 2 latents a side"),
        ({"all_f_patch_size": [2]}, "it has no embedder of patches of 2 latents a side"),
    ],
)
def test_a_controlnet_that_cannot_guide_any_job_is_refused_by_what_it_lacks(
    folder: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    models = copied(folder, tmp_path, lambda weights: None)
    config = json.loads((models / "2.1" / "config.json").read_text())
    (models / "2.1" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelFailed, match=re.escape(f"cannot be loaded: {why}")):
        load(models)
    entry = ControlNetEntry.model_validate({"source": "2.1", "model": "base"})
    with pytest.raises(ModelFailed, match=re.escape(f"cannot be loaded: {why}")):
        check_controlnet_entry("2.1", entry, models / "catalog.toml")


@pytest.mark.parametrize(
    ("part", "change", "why"),
    [
        ("vae", {"shift_factor": None}, "its VAE has no shift_factor"),
        ("vae", {"shift_factor": 0.1}, None),
        ("transformer", {"in_channels": 8}, "its transformer takes 8 channels, its latents have 4"),
        ("transformer", {"all_patch_size": [4]}, "its transformer has no embedder of patches of 2 latents"),
        ("transformer", {"all_patch_size": [2, 4], "all_f_patch_size": [1, 1]}, None),
    ],
)
def test_a_model_of_other_latents_or_patches_is_refused(
    tmp_path: Path, part: str, change: dict[str, Any], why: str | None
) -> None:
    pipe = make_z_image()
    module = getattr(pipe, part)
    pipe.register_modules(**{part: type(module).from_config({**module.config, **change})})
    pipe.save_pretrained(tmp_path / "model")
    with nullcontext() if why is None else pytest.raises(ModelFailed, match=why):
        load_model("m", str(tmp_path / "model"), "float32", "cpu")


def test_a_controlnet_without_a_base_model_is_refused(folder: Path) -> None:
    with pytest.raises(ModelFailed, match="names no base model"):
        load_controlnet("2.1", str(folder / "2.1"), "float32", "cpu")
