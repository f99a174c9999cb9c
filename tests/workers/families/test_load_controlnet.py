import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.catalog.catalog import read_catalog
from shared.catalog.entries import Catalog
from shared.errors import ModelFailed
from shared.settings import Settings
from tests.tiny_models import make_controlnet, make_pipeline, make_union
from workers.engines.compiled import CompileEngine
from workers.engines.graphs import GraphEngine
from workers.families.load_controlnet import check_controlnet, controlnet_cache, load_controlnet
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.controlnet_union import UNetControlNetUnion
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.weights.hash_cache import HASH_FOLDER
from workers.runtime.weights.loaded import weights_sha256

CATALOG = """
default_model = "sd1"
[models.sd1]
source = "sd1"
[models.sdxl]
source = "sdxl"
[controlnets.good]
source = "good"
model = "sd1"
[controlnets.wrong]
source = "good"
model = "sdxl"
[controlnets.compiled]
source = "good"
model = "sd1"
engine = "compile"
[controlnets.union]
source = "union"
model = "sdxl"
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("models")
    for layout in ("sd1", "sdxl"):
        make_pipeline(layout).save_pretrained(folder / layout)
    make_controlnet(make_pipeline("sd1").unet).save_pretrained(folder / "good")
    make_union(make_pipeline("sdxl").unet).save_pretrained(folder / "union")
    (folder / "catalog.toml").write_text(CATALOG)
    return Settings(catalog=folder / "catalog.toml", home=folder / "home")


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return read_catalog(settings.catalog)


def test_a_controlnets_weights_are_hashed_once_and_before_they_move(
    settings: Settings, catalog: Catalog
) -> None:
    # On "meta" no weight can be read any more
    source = settings.catalog.parent / "good"
    on_device = load_controlnet("good", str(source), "float16", "meta")
    on_host = load_controlnet("good", str(source), "float16", "cpu")
    assert on_device.sha256 == on_host.sha256
    # Given a worker that has loaded it, when another finds what that one remembers
    for _ in range(2):
        with controlnet_cache(catalog, settings, DeviceMemory(1 << 30)).use("good") as controlnet:
            assert controlnet.sha256 == weights_sha256({"controlnet": controlnet.model})
    remembered = [json.loads(file.read_text()) for file in (settings.home / HASH_FOLDER).iterdir()]
    files = [str(source / name) for name in ("config.json", "diffusion_pytorch_model.safetensors")]
    assert [sorted(entry["files"]) for entry in remembered] == [files]
    assert [entry["sha256"] for entry in remembered] == [controlnet.sha256]


def test_a_controlnet_that_a_job_needs_in_the_middle_of_its_loop_computes(
    settings: Settings, catalog: Catalog
) -> None:
    def residuals(controlnets: ModelCache[UNetControlNet]) -> list[Tensor]:
        with controlnets.use("good") as controlnet:
            prepared = controlnet.prepare(
                {"embeddings": torch.ones(1, 77, controlnet.model.config.cross_attention_dim)}
            )
            x, image = torch.ones(1, 4, 16, 16), controlnet.embed(torch.ones(1, 3, 64, 64), 1)
            return [residual for _, residual in controlnet.forward(x, torch.tensor(1), prepared, image)]

    expected = residuals(controlnet_cache(catalog, settings, DeviceMemory(1 << 40)))
    with torch.inference_mode():
        made = residuals(controlnet_cache(catalog, settings, DeviceMemory(1 << 40)))
    assert all(torch.equal(ours, its) for ours, its in zip(made, expected, strict=True))


def test_a_controlnet_is_compiled_only_where_there_are_no_jobs_that_compiling_would_delay(
    settings: Settings, catalog: Catalog
) -> None:
    kinds = []
    for compiles in (True, False):
        memory = DeviceMemory(1 << 40)
        with controlnet_cache(catalog, settings, memory, compiles=compiles).use("compiled") as controlnet:
            kinds.append(type(controlnet.engines.own))
    assert kinds == [CompileEngine, GraphEngine]


def test_a_controlnet_of_another_family_stops_its_workers_start_before_anything_is_loaded(
    settings: Settings, catalog: Catalog
) -> None:
    check_controlnet(catalog, settings, "good")
    check_controlnet(catalog, settings, "union")
    with pytest.raises(ModelFailed, match=r"'wrong' \(Stable Diffusion 1 or 2.*'sdxl' \(SDXL"):
        check_controlnet(catalog, settings, "wrong")


def test_a_controlnet_that_does_not_fit_is_not_loaded_either(settings: Settings, catalog: Catalog) -> None:
    controlnets = controlnet_cache(catalog, settings, DeviceMemory(1 << 40))
    with pytest.raises(ModelFailed, match="'wrong'"), controlnets.use("wrong"):
        pass
    with controlnets.use("good") as good, controlnets.use("union") as union:
        assert not isinstance(good, UNetControlNetUnion)
        assert isinstance(union, UNetControlNetUnion)


def test_a_controlnet_of_several_models_is_loaded_once_and_must_fit_each(
    settings: Settings, catalog: Catalog
) -> None:
    models = catalog.models | {"twin": catalog.models["sd1"]}

    def guiding(*names: str) -> Catalog:
        good = catalog.controlnets["good"].model_copy(update={"models": names})
        return catalog.model_copy(update={"models": models, "controlnets": {"good": good}})

    check_controlnet(guiding("sd1", "twin"), settings, "good")
    controlnets = controlnet_cache(guiding("sd1", "twin"), settings, DeviceMemory(1 << 40))
    with controlnets.use("good") as one, controlnets.use("good") as other:
        assert one is other
    with pytest.raises(ModelFailed, match="'sdxl'"):
        check_controlnet(guiding("sd1", "twin", "sdxl"), settings, "good")
    controlnets = controlnet_cache(guiding("sd1", "sdxl"), settings, DeviceMemory(1 << 40))
    with pytest.raises(ModelFailed, match="'sdxl'"), controlnets.use("good"):
        pass


def test_a_folder_without_weights_is_no_controlnet(
    settings: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    broken = catalog.controlnets["good"].model_copy(update={"source": str(tmp_path)})
    catalog = catalog.model_copy(update={"controlnets": {"broken": broken}})
    controlnets = controlnet_cache(catalog, settings, DeviceMemory(1 << 40))
    with pytest.raises(ModelFailed, match="'broken'"), controlnets.use("broken"):
        pass


def _lose(tensors: dict[str, Tensor]) -> None:
    del tensors["controlnet_mid_block.bias"]


def _spoil(tensors: dict[str, Tensor]) -> None:
    tensors["controlnet_mid_block.bias"][0] = float("nan")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_lose, r"lacks 1 of its weights, such as controlnet_mid_block\.bias"),
        (_spoil, r"controlnet_mid_block\.bias holds a NaN"),
    ],
)
def test_a_controlnet_whose_weights_are_not_whole_is_refused_naming_them(
    settings: Settings, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], told: str
) -> None:
    folder = Path(shutil.copytree(settings.catalog.parent / "good", tmp_path / "good"))
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ModelFailed, match=rf"ControlNet 'm'.*cannot be loaded: .*{told}"):
        load_controlnet("m", str(folder), "float32", "cpu")


def test_a_base_model_in_the_place_of_a_controlnet_is_refused_by_what_it_is(settings: Settings) -> None:
    with pytest.raises(ModelFailed, match="it is a base model, not a ControlNet"):
        load_controlnet("m", str(settings.catalog.parent / "sd1"), "float32", "cpu")
