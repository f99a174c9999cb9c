"""The weights that ship: whole, finite, and able to generate."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from infra.emoji.training.data.captions import TOKENS
from infra.emoji.training.data.subjects import COLOURS
from infra.emoji.training.models.kohya import to_kohya

EMOJI = Path("infra/emoji")
LORAS = EMOJI / "loras"
CONTROLNETS = sorted(folder.name for folder in (EMOJI / "controlnets").iterdir())


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(EMOJI / "model", dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def unet(pipe: StableDiffusionPipeline) -> UNet2DConditionModel:
    return pipe.unet


@pytest.mark.parametrize("file", sorted(EMOJI.rglob("*.safetensors")), ids=lambda file: str(file.parent.name))
def test_every_weight_is_finite(file: Path) -> None:
    for key, value in load_file(file).items():
        assert value.isfinite().all(), key
        assert value.dtype == torch.float16 or key.endswith(".alpha"), key


def test_the_model_generates_the_background_of_the_prompt(pipe: StableDiffusionPipeline) -> None:
    prompts = [f"a red heart on a {colour} background" for colour in ("blue", "yellow")]
    images = pipe(
        prompts,
        num_inference_steps=6,
        guidance_scale=3.0,
        height=64,
        width=64,
        generator=[torch.Generator().manual_seed(0) for _ in prompts],
        output_type="np",
    ).images
    for image, colour in zip(images, ("blue", "yellow"), strict=True):
        corner = np.median(image[:4].reshape(-1, 3), 0)
        distances = {name: np.abs(corner - np.asarray(rgb) / 255).sum() for name, rgb in COLOURS.items()}
        assert min(distances, key=distances.__getitem__) == colour


@pytest.mark.parametrize("name", CONTROLNETS)
@torch.no_grad()
def test_a_controlnet_fits_the_unet_and_its_control_image_matters(
    unet: UNet2DConditionModel, name: str
) -> None:
    controlnet = ControlNetModel.from_pretrained(EMOJI / "controlnets" / name, dtype=torch.float32)
    x, text = torch.zeros(1, 4, 16, 16), torch.zeros(1, TOKENS, 128)

    def predicted(control: Tensor) -> Tensor:
        down, mid = controlnet(x, 900, text, controlnet_cond=control, return_dict=False)
        noise: Tensor = unet(
            x, 900, text, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        return noise

    nothing, everything = torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)
    assert predicted(nothing).shape == x.shape
    assert (predicted(nothing) - predicted(everything)).abs().mean() > 0.01


@pytest.mark.parametrize("name", ["twemoji", "outline"])
def test_every_key_of_a_lora_names_a_module_it_fits(pipe: StableDiffusionPipeline, name: str) -> None:
    for key, value in load_file(LORAS / f"{name}.safetensors").items():
        part, path = key.split(".", 1)
        module, matrix = path.rsplit(".lora_", 1)
        weight = getattr(pipe, part).get_submodule(module).weight
        if matrix == "A.weight":
            assert value.shape[:2] == (8, weight.shape[1]), key
        else:
            assert matrix == "B.weight", key
            assert value.shape[:2] == (weight.shape[0], 8), key


def test_the_kohya_file_holds_the_same_weights() -> None:
    expected = to_kohya(load_file(LORAS / "outline.safetensors"))
    shipped = load_file(LORAS / "outline.kohya.safetensors")
    assert shipped.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(shipped[key], value), key
