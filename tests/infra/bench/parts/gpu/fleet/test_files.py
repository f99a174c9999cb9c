"""What a fleet of the part serves."""

from pathlib import Path

import pytest
import torch

from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.fleet.files import catalog, describe_catalog, model_name, served_engines
from shared.catalog.catalog import read_catalog


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    context = Context(quick=True, folder=tmp_path_factory.mktemp("gpu"), device="cpu")
    with context.open:
        return catalog(context)


def test_every_engine_has_a_model_of_the_same_files(written: Path) -> None:
    read = read_catalog(written)
    assert list(read.models) == [model_name(engine) for engine in served_engines(torch.device("cpu"))]
    assert {model.source for model in read.models.values()} == {"sdxl"}
    assert all(len(controlnet.models) == len(read.models) for controlnet in read.controlnets.values())


def test_a_gpu_has_a_model_for_each_engine_in_one_catalog(written: Path) -> None:
    context = Context(quick=True, folder=written.parent, device="cpu")
    text = describe_catalog(context.models, served_engines(torch.device("cuda")))
    path = written.parent / "gpu.toml"
    path.write_text(text)
    models = read_catalog(path).models
    assert [model.engine for model in models.values()] == ["eager", "graphs", "compile"]
    assert models["sdxl-compile"].memory_format == "channels_last"


def test_weights_are_written_in_the_dtype_of_the_size(written: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(written.parent / "sdxl" / "unet")
    assert unet.dtype == torch.float32
