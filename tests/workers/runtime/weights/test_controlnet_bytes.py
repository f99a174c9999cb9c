"""What ControlNets take is known before they are loaded, with the layers that their base models give them."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from shared.catalog.catalog import read_catalog
from shared.errors import CatalogGone
from shared.settings import Settings
from tests.tiny_transformers import (
    make_flux,
    make_flux_controlnet,
    make_sd3,
    make_sd3_controlnet,
    make_z_image,
    make_z_image_controlnet,
)
from workers.families.load_controlnet import controlnet_cache
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.weights.controlnet_bytes import ControlNetBytes

#: By ControlNet: its base model, both made.
MODELS: dict[str, tuple[str, Any, Any]] = {
    "z-image-1.0": ("z-image", make_z_image, lambda: make_z_image_controlnet("1.0")),
    "z-image-2.1": ("z-image", make_z_image, lambda: make_z_image_controlnet("2.1")),
    "sd3.5-large": ("sd3", make_sd3, lambda: make_sd3_controlnet("large")),
    "sd3.5-medium": ("sd3", make_sd3, make_sd3_controlnet),
    "flux-union": ("flux", make_flux, lambda: make_flux_controlnet("union")),
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, (base, make_base, make) in MODELS.items():
        make().save_pretrained(folder / name)
        if not (folder / base).exists():
            make_base().save_pretrained(folder / base)
    # Given a base model in one file as well, by the prefix of published files
    weights = load_file(folder / "z-image" / "transformer" / WEIGHTS)
    save_file({f"model.diffusion_model.{name}": w for name, w in weights.items()}, folder / "z.safetensors")
    return folder


def catalog_of(folder: Path, name: str, base: str, dtype: str) -> Settings:
    path = folder / f"{name}-{base.replace('/', '-')}-{dtype}.toml"
    path.write_text(
        f'default_model = "base"\n[models.base]\nsource = "{base}"\ndtype = "{dtype}"\n'
        f'[controlnets."{name}"]\nsource = "{name}"\nmodel = "base"\n'
    )
    return Settings(catalog=path, home=folder / "home")


def estimate(folder: Path, name: str, base: str, dtype: str) -> int:
    settings = catalog_of(folder, name, base, dtype)
    return ControlNetBytes(settings.catalog, read_catalog(settings.catalog)).estimate(name)


@pytest.mark.parametrize("name", MODELS)
def test_an_estimate_is_what_the_loaded_controlnet_takes(folder: Path, name: str) -> None:
    base = MODELS[name][0]
    settings = catalog_of(folder, name, base, "float32")
    cache = controlnet_cache(read_catalog(settings.catalog), settings, DeviceMemory(1 << 40))
    with cache.use(name) as loaded:
        assert 0 <= estimate(folder, name, base, "float32") - loaded.weight_bytes < 0.01 * loaded.weight_bytes
    assert 2 * estimate(folder, name, base, "bfloat16") == estimate(folder, name, base, "float32")


def test_a_base_model_in_a_single_file_counts_as_its_folder(folder: Path) -> None:
    name = "z-image-2.1"
    assert estimate(folder, name, "z.safetensors", "float32") == estimate(folder, name, "z-image", "float32")


def test_without_the_layers_of_its_base_model_a_controlnet_is_not_here(folder: Path) -> None:
    assert estimate(folder, "z-image-2.1", "hub:org/z", "float32") == 0
    assert estimate(folder, "flux-union", "hub:org/flux", "float32") > 0  # which is given none


def test_a_controlnet_that_the_catalog_has_no_more_is_named(folder: Path) -> None:
    settings = catalog_of(folder, "flux-union", "flux", "float32")
    with pytest.raises(CatalogGone, match="gone"):
        ControlNetBytes(settings.catalog, read_catalog(settings.catalog)).estimate("gone")
