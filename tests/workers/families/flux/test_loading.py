"""What is refused of Flux's models and ControlNets when they are checked or loaded, by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel

from shared.catalog.entries import ControlNetEntry, ModelEntry
from shared.errors import ModelFailed
from tests.original_names import PREFIXES, flux_names
from tests.tiny_transformers import make_flux, make_flux_controlnet
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.families.transformer.single_file import to_diffusers_names
from workers.model_checks.source import check_controlnet_entry, check_model_entry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a ControlNet."""
    path = tmp_path_factory.mktemp("flux")
    make_flux().save_pretrained(path / "model")
    make_flux_controlnet().save_pretrained(path / "net")
    return path


def load(path: Path) -> Any:
    return load_model("m", str(path), "float32", "cpu")


@pytest.mark.parametrize("prefix", PREFIXES, ids=["prefix", "none"])
@pytest.mark.parametrize("has_guidance", [True, False], ids=["dev", "schnell"])
@pytest.mark.parametrize(
    "stored", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str
)
def test_every_row_of_a_single_file_by_its_authors_names_finds_its_place(
    stored: torch.dtype, has_guidance: bool, prefix: str
) -> None:
    # Given one block of each kind, as wide as Flux.1's, which diffusers takes for granted, but of two columns
    with init_empty_weights():
        model = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=has_guidance)
    shapes = {
        name: (*tensor.shape[:1], *(2 for _ in tensor.shape[1:]))
        for name, tensor in model.state_dict().items()
    }
    weights = {name: torch.randn(shape).to(stored) for name, shape in shapes.items()}
    converted = to_diffusers_names(FluxTransformer2DModel, flux_names(weights, prefix), model.config)
    assert converted.keys() == weights.keys()
    for name, tensor in converted.items():
        assert tensor.dtype == stored
        assert torch.equal(tensor.float(), weights[name].float()), name


@pytest.mark.parametrize("engine", ["graphs", "compile"])
def test_an_engine_that_cannot_run_it_is_refused_when_it_is_checked(folder: Path, engine: Any) -> None:
    why = rf"'m'.*engine '{engine}' does not run Flux.1; say 'eager', or leave it out"
    with pytest.raises(ModelFailed, match=why):
        check_model_entry("m", ModelEntry(source="model", engine=engine), folder / "catalog.toml")
    control_net = ControlNetEntry.model_validate({"source": "net", "model": "m", "engine": engine})
    with pytest.raises(ModelFailed, match=why):
        check_controlnet_entry("m", control_net, folder / "catalog.toml")


@pytest.mark.parametrize(
    "option",
    [{"attention_slicing": "auto"}, {"memory_format": "channels_last"}],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_changes_nothing_of_it_is_refused_when_it_is_checked(
    folder: Path, option: dict[str, Any]
) -> None:
    ((name, value),) = option.items()
    why = rf"'m'.*{name} '{value}' changes nothing of Flux\.1: leave it out"
    with pytest.raises(ModelFailed, match=why):
        check_model_entry("m", ModelEntry(source="model", **option), folder / "catalog.toml")
    if name in ControlNetEntry.model_fields:
        control_net = ControlNetEntry.model_validate({"source": "net", "model": "m", **option})
        with pytest.raises(ModelFailed, match=why):
            check_controlnet_entry("m", control_net, folder / "catalog.toml")


def test_a_model_that_takes_more_than_its_latents_is_refused(tmp_path: Path) -> None:
    pipe = make_flux()
    config = {**pipe.transformer.config, "in_channels": 24, "out_channels": 16}
    pipe.transformer = FluxTransformer2DModel.from_config(config)
    pipe.save_pretrained(tmp_path / "fill")
    with pytest.raises(ModelFailed, match=r"'m'.*takes 24 channels, its latents have 16"):
        load(tmp_path / "fill")


def test_weights_that_hold_nan_are_refused(tmp_path: Path) -> None:
    pipe, control_net = make_flux(), make_flux_controlnet()
    pipe.transformer.x_embedder.bias.data[0] = torch.nan
    pipe.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelFailed, match=r"'m'.*transformer\.x_embedder\.bias holds a NaN"):
        load(tmp_path / "model")
    control_net.controlnet_blocks[0].bias.data[0] = torch.inf
    control_net.save_pretrained(tmp_path / "net")
    with pytest.raises(ModelFailed, match=r"'net'.*controlnet_blocks\.0\.bias holds a NaN or an infinity"):
        load_controlnet("net", str(tmp_path / "net"), "float32", "cpu", base=str(tmp_path / "model"))


def test_a_controlnet_of_which_nothing_is_read_is_refused(folder: Path, tmp_path: Path) -> None:
    make_flux_controlnet("6/0", num_layers=0).save_pretrained(tmp_path / "net")
    with pytest.raises(ModelFailed, match="no block whose residual"):
        load_controlnet("net", str(tmp_path / "net"), "float32", "cpu", base=str(folder / "model"))
