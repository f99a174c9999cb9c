"""What a ControlNet of SD3.5 large takes of its base model's files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from shared.catalog.entries import LoadOptions
from tests.original_names import sd3_names
from tests.tiny_transformers import make_sd3
from workers.families.load_base_model import load_model
from workers.families.sd3.pos_embed import load_pos_embed
from workers.model_checks.weight_files import Unloadable


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """The layer of a base model."""
    return {name: tensor.clone() for name, tensor in make_sd3().transformer.pos_embed.state_dict().items()}


def written(folder: Path, shards: dict[str, dict[str, Tensor]]) -> str:
    """A base model of which only these files are there."""
    (folder / "transformer").mkdir(parents=True)
    for name, tensors in shards.items():
        named = {f"pos_embed.{key}": tensor for key, tensor in tensors.items()}
        save_file(named, folder / "transformer" / name)
    return str(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_is_read_from_the_shards_of_a_folder(
    weights: dict[str, Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    names = sorted(weights)
    shards = {
        f"diffusion_pytorch_model-0000{i}-of-00002.safetensors": {name: weights[name] for name in part}
        for i, part in enumerate((names[:1], names[1:]), 1)
    }
    # Of a variant beside them, nothing is read
    shards["diffusion_pytorch_model.fp16.safetensors"] = {name: weights[name] * 2 for name in names}
    layer = load_pos_embed(written(tmp_path, shards), 32, dtype)
    assert {name: tensor.dtype for name, tensor in layer.state_dict().items()} == dict.fromkeys(names, dtype)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, weights[name].to(dtype))
    x = torch.zeros(1, 16, 12, 16, dtype=dtype)
    own = make_sd3().transformer.pos_embed.to(dtype)
    with torch.inference_mode():
        assert torch.equal(layer(x), own(x))


def by_original_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return sd3_names(weights, prefix="")


@pytest.mark.parametrize(
    "names", [sd3_names, by_original_names, dict], ids=["prefix", "original", "diffusers"]
)
def test_the_layer_is_read_from_a_single_file_that_is_a_base_model(
    names: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], weights: dict[str, Tensor], tmp_path: Path
) -> None:
    pipe = make_sd3()
    pipe.save_pretrained(tmp_path / "configs")
    file = tmp_path / "sd3.safetensors"
    save_file({name: tensor.clone() for name, tensor in names(pipe.transformer.state_dict()).items()}, file)
    options = LoadOptions(config=str(tmp_path / "configs"))
    base = load_model("sd3", str(file), "float32", "cpu", options).parts["transformer"].pos_embed
    layer = load_pos_embed(str(file), 32, torch.float32)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, weights[name])
        assert torch.equal(tensor, base.state_dict()[name])


def test_a_base_model_without_it_is_refused_by_name(weights: dict[str, Tensor], tmp_path: Path) -> None:
    base = written(tmp_path, {"diffusion_pytorch_model.safetensors": {"proj.bias": weights["proj.bias"]}})
    with pytest.raises(Unloadable, match=r"has no pos_embed\.proj\.weight, which it needs"):
        load_pos_embed(base, 32, torch.float32)


def test_a_base_model_of_another_width_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    base = written(tmp_path, {"diffusion_pytorch_model.safetensors": weights})
    with pytest.raises(Unloadable, match="tokens of 32 channels, its own have 64"):
        load_pos_embed(base, 64, torch.float32)


def test_a_folder_without_t5_says_so(tmp_path: Path) -> None:
    make_sd3(with_t5=False).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["text_encoder_3"] == [None, None]
