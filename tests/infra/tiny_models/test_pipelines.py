"""Every tiny pipeline generates, with each of its ControlNets and a LoRA, and loads again from its folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.diffusers_peer import CONTROL
from tests.tiny_transformers import (
    make_flux,
    make_flux_controlnet,
    make_lora,
    make_qwen_image,
    make_qwen_image_controlnet,
    make_sd3,
    make_sd3_controlnet,
    make_z_image,
    make_z_image_controlnet,
)

Make = Callable[[], Any]
PIPELINES: dict[str, Make] = {
    "flux dev": make_flux,
    "flux schnell": partial(make_flux, guidance_embeds=False),
    "sd3.5 large": make_sd3,
    "sd3.5 medium": partial(make_sd3, dual_attention=True),
    "sd3 without t5": partial(make_sd3, qk_norm=False, with_t5=False),
    "qwen-image": make_qwen_image,
    "z-image": make_z_image,
}
#: Base model, pipeline of its ControlNets, ControlNet.
CONTROLLED: dict[str, tuple[Make, str, Make]] = {
    **{
        f"flux {kind}": (make_flux, "FluxControlNetPipeline", partial(make_flux_controlnet, kind))
        for kind in ("5/10", "6/0", "union", "xlabs")
    },
    **{
        f"sd3 {kind}": (make_sd3, "StableDiffusion3ControlNetPipeline", partial(make_sd3_controlnet, kind))
        for kind in ("medium", "large")
    },
    "qwen-image": (make_qwen_image, "QwenImageControlNetPipeline", make_qwen_image_controlnet),
    **{
        f"z-image {kind}": (make_z_image, "ZImageControlNetPipeline", partial(make_z_image_controlnet, kind))
        for kind in ("1.0", "2.0", "2.1")
    },
}


def generate(pipe: Any, prompt: str = "a red car", **options: Any) -> NDArray[np.int16]:
    torch.manual_seed(3)  # SD3 samples latents of control images from it
    generator = torch.Generator().manual_seed(3)
    images = pipe(prompt, num_inference_steps=2, width=64, height=48, generator=generator, **options).images
    return np.asarray(images[0], dtype=np.int16)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_tiny_pipeline_generates_and_loads_from_its_folder(name: str, tmp_path: Path) -> None:
    pipe = PIPELINES[name]()
    image = generate(pipe)
    assert image.shape == (48, 64, 3)
    assert image.std() > 10
    assert np.abs(generate(pipe, "the blue house") - image).max() > 5
    pipe.save_pretrained(tmp_path)
    absent = {part: None for part, module in pipe.components.items() if module is None}
    loaded = diffusers.DiffusionPipeline.from_pretrained(tmp_path, **absent)
    assert (
        np.abs(generate(loaded) - image).max() <= 1
    )  # weights that lie elsewhere in memory: other last bits
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            assert sum(parameter.numel() for parameter in part.parameters()) < 1_000_000


@pytest.mark.parametrize("name", CONTROLLED)
def test_a_tiny_controlnet_steers_and_loads_from_its_folder(name: str, tmp_path: Path) -> None:
    make, pipeline, make_controlnet = CONTROLLED[name]
    pipe, controlnet = make(), make_controlnet()
    controlnet.save_pretrained(tmp_path)
    loaded = type(controlnet).from_pretrained(tmp_path)
    mode = {"control_mode": 2} if "union" in name else {}

    def controlled(controlnet: Any, scale: float) -> NDArray[np.int16]:
        steered = getattr(diffusers, pipeline)(**pipe.components, controlnet=controlnet)
        options: dict[str, Any] = {"control_image": Image.open(CONTROL).convert("RGB"), **mode}
        return generate(steered, controlnet_conditioning_scale=scale, **options)

    image = controlled(controlnet, 0.8)
    assert np.abs(controlled(loaded, 0.8) - image).max() <= 1
    assert np.abs(controlled(controlnet, 0.0) - image).max() > 5


@pytest.mark.parametrize("name", ["flux dev", "sd3.5 medium", "qwen-image", "z-image"])
def test_a_tiny_lora_changes_the_image_and_all_of_it_is_loaded(name: str, tmp_path: Path) -> None:
    pipe = PIPELINES[name]()
    plain = generate(pipe)
    parts = ["transformer", "text_encoder"] if name.startswith(("flux", "sd3")) else ["transformer"]
    make_lora(pipe, tmp_path / "lora.safetensors", parts=parts)
    pipe.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    assert np.abs(generate(pipe) - plain).max() > 5
