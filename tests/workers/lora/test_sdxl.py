"""SDXL's second text encoder is a part like the others, in every trainer's names."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from shared.jobs.lora_scales import PartScales
from tests.checkpoints import unet_name
from tests.tiny_models import LAYOUTS, make_pipeline
from tests.workers.lora.patchers import WRITERS
from workers.families.unet.lora_scales import unet_layer_scales
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora

MODULES = {
    "unet": "mid_block.attentions.0.proj_in",
    "text_encoder": "encoder.layers.0.mlp.fc1",
    "text_encoder_2": "encoder.layers.1.self_attn.q_proj",
}
KOHYA = {
    "unet": "lora_unet_",
    "text_encoder": "lora_te1_text_model_",
    "text_encoder_2": "lora_te2_text_model_",
}
STYLES: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "diffusers": lambda part, name: (
        f"{part}.{name}.lora_A.weight",
        f"{part}.{name}.lora_B.weight",
    ),
    "kohya": lambda part, name: (
        f"{KOHYA[part]}{name.replace('.', '_')}.lora_down.weight",
        f"{KOHYA[part]}{name.replace('.', '_')}.lora_up.weight",
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("style", STYLES)
def test_both_text_encoders_are_patched_each_by_its_scale(
    write: Callable[..., Path], style: str, writer: str
) -> None:
    pipe = make_pipeline("sdxl")
    parts = {part: getattr(pipe, part) for part in MODULES}
    tensors, expected = {}, {}
    torch.manual_seed(0)
    scales = {"unet": 1.0, "text_encoder": 0.5, "text_encoder_2": -0.25}
    places = {}
    for part, name in MODULES.items():
        model = parts[part]
        places[part] = next(found for found, _ in model.named_modules() if found.endswith(name))
        weight = model.get_submodule(places[part]).weight.detach()
        a, b = torch.randn(2, weight[0].numel()), torch.randn(len(weight), 2)
        key_a, key_b = STYLES[style](part, name)
        tensors |= {key_a: a.view(2, *weight.shape[1:]), key_b: b.view(len(weight), 2, *weight.shape[2:])}
        expected[part] = weight + scales[part] * (b @ a).view(weight.shape)
    lora = read_lora(write(tensors), UNetLoraTargets(parts))
    assert {part: list(changes) for part, changes in lora.parts.items()} == {
        part: [f"{place}.weight"] for part, place in places.items()
    }
    WRITERS[writer](parts, unet_layer_scales).apply([(lora, PartScales.model_validate(scales))])
    for part, place in places.items():
        assert torch.allclose(parts[part].get_submodule(place).weight, expected[part], atol=1e-5), part


SPELLINGS: dict[str, Callable[[str, UNet2DConditionModel], str]] = {
    "kohya's numbers": lambda name, unet: f"lora_unet_{unet_name(f'{name}.weight', unet)}",
    "diffusers' names": lambda name, _: f"lora_unet_{name}.weight",
    "lycoris": lambda name, _: f"lycoris_{name}.weight",
}


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    """SDXL's own, without its weights."""
    sizes = {"block_out_channels": (320, 640, 1280), "layers_per_block": 2, "cross_attention_dim": 2048}
    with torch.device("meta"):
        return UNet2DConditionModel(**LAYOUTS["sdxl"] | sizes | {"transformer_layers_per_block": (1, 2, 10)})


@pytest.mark.parametrize("spelling", [*SPELLINGS, "all of them in one file"])
def test_the_flat_name_of_every_module_of_a_real_unet_is_known(
    unet: UNet2DConditionModel, write: Callable[..., Path], spelling: str
) -> None:
    tensors, alphas = {}, {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            shape = module.weight.shape
            spell = SPELLINGS.get(spelling) or list(SPELLINGS.values())[len(alphas) % len(SPELLINGS)]
            stem = spell(name, unet).removesuffix(".weight").replace(".", "_")
            tensors[f"{stem}.lora_down.weight"] = torch.zeros(1, *shape[1:], dtype=torch.float16)
            tensors[f"{stem}.lora_up.weight"] = torch.zeros(shape[0], 1, dtype=torch.float16)
            alphas[f"{name}.weight"] = float(len(alphas))
            tensors[f"{stem}.alpha"] = torch.tensor(alphas[f"{name}.weight"])
    found = read_lora(write(tensors), UNetLoraTargets({"unet": unet})).parts["unet"]
    assert {name: change.scaling for name, change in found.items()} == alphas
    assert len(alphas) == 794
