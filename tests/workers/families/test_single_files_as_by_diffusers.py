"""What is loaded of single files computes as what diffusers loads: see `test_loaded_as_by_diffusers`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusionPipeline,
    ZImageControlNetModel,
    ZImageTransformer2DModel,
)
from safetensors.torch import load_file, save_file

from shared.catalog.entries import LoadOptions
from tests.checkpoints import save_checkpoint
from tests.original_names import sd3_names, vae_names, z_image_names
from tests.tiny_models import make_controlnet, make_pipeline
from tests.tiny_transformers import (
    make_flux,
    make_qwen_image,
    make_sd3,
    make_sd3_controlnet,
    make_z_image,
    make_z_image_controlnet,
)
from tests.workers.families.layouts import layout
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet

WEIGHTS = "diffusion_pytorch_model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Published(NamedTuple):
    """A transformer as it lies in a single file."""

    make: Callable[[], Any]  # a pipeline
    kind: Any  # of diffusers
    names: Callable[[Any], Any]  # gives weights the names that they have in the file


TRANSFORMERS = {
    "flux": Published(make_flux, FluxTransformer2DModel, dict),  # a tiny one by diffusers' names alone
    "qwen-image": Published(make_qwen_image, QwenImageTransformer2DModel, dict),
    "sd3": Published(make_sd3, SD3Transformer2DModel, sd3_names),
    "z-image": Published(make_z_image, ZImageTransformer2DModel, z_image_names),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_in_a_file_has_the_layout_of_what_diffusers_loads(
    name: str, dtype: str, tmp_path: Path
) -> None:
    make, kind, names = TRANSFORMERS[name]
    make().save_pretrained(tmp_path / "m")
    file, config = tmp_path / "m.safetensors", str(tmp_path / "m")
    save_file(names(load_file(tmp_path / "m/transformer" / WEIGHTS)), file)
    ours = load_model("m", str(file), dtype, "cpu", LoadOptions(config=config))
    theirs = from_file(kind, file, config, dtype, subfolder="transformer")
    assert layout(ours.parts["transformer"]) == layout(theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_vae_in_a_file_has_the_layout_of_what_diffusers_loads(dtype: str, tmp_path: Path) -> None:
    make_sd3().save_pretrained(tmp_path / "m")
    file, config = tmp_path / "m.safetensors", str(tmp_path / "m")
    own = [load_file(tmp_path / "m" / part / WEIGHTS) for part in ("transformer", "vae")]
    save_file({**sd3_names(own[0]), **vae_names(own[1])}, file)
    ours = load_model("m", str(file), dtype, "cpu", LoadOptions(config=config))
    theirs = from_file(AutoencoderKL, file, config, dtype, subfolder="vae")
    assert layout(ours.parts["vae"]) == layout(theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_stable_diffusion_in_a_file_has_the_layout_of_what_diffusers_loads(
    dtype: str, tmp_path: Path
) -> None:
    pipe = make_pipeline("sd1")
    pipe.save_pretrained(tmp_path / "m")
    file, config = tmp_path / "m.safetensors", str(tmp_path / "m")
    save_checkpoint(pipe, file)
    theirs = from_file(StableDiffusionPipeline, file, config, dtype, safety_checker=None)
    ours = load_model("m", str(file), dtype, "cpu", LoadOptions(config=config))
    for part, module in ours.parts.items():
        assert layout(module) == layout(getattr(theirs, part))


def test_a_controlnet_in_a_file_has_the_layout_of_what_diffusers_loads(tmp_path: Path) -> None:
    make_controlnet(make_pipeline("sd1").unet).save_pretrained(tmp_path / "n")
    file, config = tmp_path / "n.safetensors", str(tmp_path / "n")
    save_file(load_file(tmp_path / "n" / WEIGHTS), file)
    ours = load_controlnet("n", str(file), "float32", "cpu", config=config)
    assert layout(ours.model) == layout(from_file(ControlNetModel, file, config, "float32"))


@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
def test_layers_of_a_base_model_in_a_file_have_the_layout_of_what_diffusers_loads(
    is_file: bool, tmp_path: Path
) -> None:
    """Of Z-Image; the ControlNet lies in a folder, or in a file, too."""
    make_z_image().save_pretrained(tmp_path / "m")
    make_z_image_controlnet().save_pretrained(tmp_path / "n")
    base, config = tmp_path / "m.safetensors", str(tmp_path / "m")
    save_file(z_image_names(load_file(tmp_path / "m/transformer" / WEIGHTS)), base)
    source, own = tmp_path / "n", None
    theirs = ZImageControlNetModel.from_pretrained(source, dtype=torch.float32)
    if is_file:
        source, own = tmp_path / "n.safetensors", str(tmp_path / "n")
        save_file(load_file(tmp_path / "n" / WEIGHTS), source)
        theirs = from_file(ZImageControlNetModel, source, own, "float32")
    ours = load_controlnet("n", str(source), "float32", "cpu", base=str(base), config=own, base_config=config)
    transformer = from_file(ZImageTransformer2DModel, base, config, "float32", subfolder="transformer")
    assert layout(ours.model) == layout(ZImageControlNetModel.from_transformer(theirs, transformer))


@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
def test_the_layer_that_a_controlnet_of_sd3_takes_has_the_layout_that_diffusers_gives_it(
    is_file: bool, tmp_path: Path
) -> None:
    make_sd3().save_pretrained(tmp_path / "m")
    make_sd3_controlnet("large").save_pretrained(tmp_path / "n")
    base, own = tmp_path / "m", None
    transformer = SD3Transformer2DModel.from_pretrained(base, subfolder="transformer")
    if is_file:
        base, own = tmp_path / "m.safetensors", str(tmp_path / "m")
        save_file(sd3_names(load_file(tmp_path / "m/transformer" / WEIGHTS)), base)
        transformer = from_file(SD3Transformer2DModel, base, own, "float32", subfolder="transformer")
    ours = load_controlnet("n", str(tmp_path / "n"), "float32", "cpu", base=str(base), base_config=own)
    theirs = SD3ControlNetModel.from_pretrained(tmp_path / "n", dtype=torch.float32)
    theirs.pos_embed = theirs._get_pos_embed_from_transformer(transformer).eval()
    assert layout(ours.model) == layout(theirs)


def from_file(kind: Any, file: Path, config: str, dtype: str, **options: Any) -> Any:
    """What diffusers loads of a single file, with the configs of a folder."""
    return kind.from_single_file(
        str(file), config=config, dtype=DTYPES[dtype], local_files_only=True, **options
    )
