"""What a step sends is known from configs: it is what ControlNets compute."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalog.catalog import read_catalog
from shared.catalog.step_bytes import largest_step_bytes, largest_step_bytes_of_models, step_bytes
from shared.families.unet import SD1, SDXL
from tests.tiny_models import make_controlnet, make_unet

#: Of diffusers' folders, as far as they count.
SD15 = {"block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "cross_attention_dim": 768}
XL = {"block_out_channels": [320, 640, 1280], "addition_embed_type": "text_time"}


@torch.inference_mode()
def test_the_numbers_of_a_step_are_those_that_a_controlnet_computes() -> None:
    controlnet = make_controlnet(make_unet("sd1"))
    config = dict(controlnet.config)
    width = config["cross_attention_dim"]
    image = torch.zeros(1, 3, 72, 56)
    _, _, height, width_of_latents = controlnet.controlnet_cond_embedding(image).shape
    latents = torch.zeros(1, 4, height, width_of_latents)  # of uneven sides
    down, mid = controlnet(latents, 1, torch.zeros(1, 7, width), image, return_dict=False)
    computed = sum(residual.numel() for residual in (*down, mid))
    assert SD1.residual_elements(config, {}, (56, 72)) == computed


@pytest.mark.parametrize(
    ("facts", "config", "px", "megabytes"), [(SD1, SD15, 512, 27), (SDXL, XL, 1024, 107)]
)
def test_a_guided_step_in_half_precision_has_the_bytes_that_are_known(
    facts: Any, config: dict[str, Any], px: int, megabytes: int
) -> None:
    found = step_bytes(facts, config, config, size=(px, px), dtype="float16", rows=2)
    assert found is not None
    assert round(found / 1e6) == megabytes


@pytest.mark.parametrize(
    "config",
    [
        {"block_out_channels": 320},
        {"block_out_channels": ["320"]},
        {"block_out_channels": []},
        {"layers_per_block": [2]},
        {"layers_per_block": "2"},
    ],
)
def test_a_config_that_makes_no_sense_says_nothing(config: dict[str, Any]) -> None:
    assert SD1.residual_elements(config, {}, (64, 64)) is None


def test_the_largest_controlnet_of_a_catalog_counts_at_its_models_own_size(tmp_path: Path) -> None:
    def write(folder: str, config: dict[str, Any]) -> None:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text(json.dumps(config))

    write("small/unet", SD15)
    write("small/vae", {})
    write("large/unet", XL)
    for model, control_net, config in (("small", "edge", SD15), ("large", "depth", XL)):
        write(control_net, {"_class_name": "ControlNetModel", **config})
        kind = "StableDiffusionXLPipeline" if model == "large" else "StableDiffusionPipeline"
        (tmp_path / model / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    lines = [
        'default_model = "small"',
        '[models.small]\nsource = "small"\nwidth = 512\nheight = 512\ndtype = "float16"',
        '[models.large]\nsource = "large"\nwidth = 1024\nheight = 1024\ndtype = "float16"',
        '[controlnets.edge]\nsource = "edge"\nmodel = "small"',
        '[controlnets.depth]\nsource = "depth"\nmodel = "large"',
        '[controlnets.unknown]\nsource = "hub:somebody/something"\nmodel = "large"',
    ]
    path = tmp_path / "catalog.toml"
    path.write_text("\n".join(lines))
    catalog = read_catalog(path)

    def of(*controlnets: str) -> int:
        return round(largest_step_bytes(catalog, path, controlnets) / 1e6)

    assert [of("edge"), of("depth"), of("edge", "depth", "unknown")] == [27, 107, 107]
    assert [of("unknown"), of()] == [0, 0]
    of_models = partial(largest_step_bytes_of_models, catalog, path)
    assert [of_models(["small"]), of_models(["small", "large"])] == [
        largest_step_bytes(catalog, path, [name]) for name in ("edge", "depth")
    ]


def test_a_controlnet_of_several_models_counts_at_the_largest_of_their_sizes(tmp_path: Path) -> None:
    for folder in ("model/unet", "model/vae", "edge"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text(json.dumps(SD15))
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    path = tmp_path / "catalog.toml"
    path.write_text(
        'default_model = "a"\n'
        '[models.a]\nsource = "model"\nwidth = 512\nheight = 512\n'
        '[models.b]\nsource = "model"\nwidth = 768\nheight = 512\n'
        '[controlnets.edge]\nsource = "edge"\nmodel = ["a", "b"]\n'
    )
    catalog = read_catalog(path)
    found = step_bytes(SD1, SD15, SD15, size=(768, 512), dtype="float32", rows=2)
    assert largest_step_bytes(catalog, path, ["edge"]) == found
