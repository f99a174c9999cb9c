import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.catalog.catalog import Catalogue, read_catalogue
from shared.errors import ModelFailed
from shared.settings import Settings
from tests.tiny_models import make_net, make_pipeline, make_union
from workers.families.load_controlnet import check_net, load_net, nets_of
from workers.families.unet_controlnet import Net
from workers.families.unet_controlnet_union import UnionNet
from workers.runtime.model_cache import Memory, Residents

CATALOGUE = """
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
[controlnets.union]
source = "union"
model = "sdxl"
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("models")
    for layout in ("sd1", "sdxl"):
        make_pipeline(layout).save_pretrained(folder / layout)
    make_net(make_pipeline("sd1").unet).save_pretrained(folder / "good")
    make_union(make_pipeline("sdxl").unet).save_pretrained(folder / "union")
    (folder / "catalogue.toml").write_text(CATALOGUE)
    return Settings(catalog=folder / "catalogue.toml")


@pytest.fixture
def catalogue(settings: Settings) -> Catalogue:
    return read_catalogue(settings.catalog)


def test_a_net_that_a_job_needs_in_the_middle_of_its_loop_computes(
    settings: Settings, catalogue: Catalogue
) -> None:
    def trunk(nets: Residents[Net]) -> list[Tensor]:
        with nets.use("good") as net:
            prepared = net.prepare({"embeddings": torch.ones(1, 77, net.model.config.cross_attention_dim)})
            x, image = torch.ones(1, 4, 16, 16), net.embed(torch.ones(1, 3, 64, 64), 1)
            return net.trunk(x, torch.tensor(1), prepared, image)

    expected = trunk(nets_of(catalogue, settings, Memory(1 << 40)))
    with torch.inference_mode():
        made = trunk(nets_of(catalogue, settings, Memory(1 << 40)))
    assert all(torch.equal(ours, its) for ours, its in zip(made, expected, strict=True))


def test_a_net_of_another_family_stops_its_workers_start_before_anything_is_loaded(
    settings: Settings, catalogue: Catalogue
) -> None:
    check_net(catalogue, settings, "good")
    check_net(catalogue, settings, "union")
    with pytest.raises(ModelFailed, match=r"'wrong' \(Stable Diffusion 1 or 2.*'sdxl' \(SDXL"):
        check_net(catalogue, settings, "wrong")


def test_a_net_that_does_not_fit_is_not_loaded_either(settings: Settings, catalogue: Catalogue) -> None:
    nets = nets_of(catalogue, settings, Memory(1 << 40))
    with pytest.raises(ModelFailed, match="'wrong'"), nets.use("wrong"):
        pass
    with nets.use("good") as good, nets.use("union") as union:
        assert not isinstance(good, UnionNet)
        assert isinstance(union, UnionNet)


def test_a_net_of_several_models_is_loaded_once_and_must_fit_each(
    settings: Settings, catalogue: Catalogue
) -> None:
    models = catalogue.models | {"twin": catalogue.models["sd1"]}

    def guiding(*names: str) -> Catalogue:
        good = catalogue.controlnets["good"].model_copy(update={"models": names})
        return catalogue.model_copy(update={"models": models, "controlnets": {"good": good}})

    check_net(guiding("sd1", "twin"), settings, "good")
    nets = nets_of(guiding("sd1", "twin"), settings, Memory(1 << 40))
    with nets.use("good") as one, nets.use("good") as other:
        assert one is other
    with pytest.raises(ModelFailed, match="'sdxl'"):
        check_net(guiding("sd1", "twin", "sdxl"), settings, "good")
    nets = nets_of(guiding("sd1", "sdxl"), settings, Memory(1 << 40))
    with pytest.raises(ModelFailed, match="'sdxl'"), nets.use("good"):
        pass


def test_a_folder_without_weights_is_no_net(settings: Settings, catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    broken = catalogue.controlnets["good"].model_copy(update={"source": str(tmp_path)})
    catalogue = catalogue.model_copy(update={"controlnets": {"broken": broken}})
    nets = nets_of(catalogue, settings, Memory(1 << 40))
    with pytest.raises(ModelFailed, match="'broken'"), nets.use("broken"):
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
def test_a_net_whose_weights_are_not_whole_is_refused_naming_them(
    settings: Settings, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], told: str
) -> None:
    folder = Path(shutil.copytree(settings.catalog.parent / "good", tmp_path / "good"))
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ModelFailed, match=rf"ControlNet 'm'.*cannot be loaded: .*{told}"):
        load_net("m", str(folder), "float32", "cpu")


def test_a_base_model_in_the_place_of_a_net_is_refused_by_what_it_is(settings: Settings) -> None:
    with pytest.raises(ModelFailed, match="it is a base model, not a ControlNet"):
        load_net("m", str(settings.catalog.parent / "sd1"), "float32", "cpu")
