"""Files of kohya, LyCORIS, ComfyUI and OneTrainer train the modules that they name, in any spelling."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import Tensor, nn

from shared.errors import InvalidLora
from tests.checkpoints import unet_name
from tests.tiny_models import LAYOUTS, make_pipeline
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.families.unet.original_names import original_names
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher

SIZES: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "attention_head_dim": (5, 10, 20, 20),
    },
    "sdxl": LAYOUTS["sdxl"]
    | {"block_out_channels": (320, 640, 1280), "layers_per_block": 2, "cross_attention_dim": 2048}
    | {"transformer_layers_per_block": (1, 2, 10)},
}
PREFIXES: dict[str, Callable[[str], str]] = {
    "kohya": lambda name: f"lora_unet_{name.replace('.', '_')}",
    "lycoris": lambda name: f"lycoris_{name.replace('.', '_')}",
    "comfyui": lambda name: f"diffusion_model.{name}",
}


@pytest.fixture(scope="module", params=SIZES)
def unet(request: pytest.FixtureRequest) -> Any:
    """The real UNet of a family, without its weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(**SIZES[request.param])


def trained(unet: nn.Module) -> dict[str, torch.Size]:
    """The shapes of all weights that somebody may train."""
    kinds = nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm
    return {name: module.weight.shape for name, module in unet.named_modules() if isinstance(module, kinds)}


def test_original_names_are_those_that_diffusers_converts_checkpoints_by(unet: Any) -> None:
    # Given a checkpoint in which every weight says what it is called there
    names = {unet_name(f"{name}.weight", unet): torch.empty(0) for name in trained(unet)}
    called = {id(tensor): name.removesuffix(".weight") for name, tensor in names.items()}
    checkpoint = {f"model.diffusion_model.{name}": tensor for name, tensor in names.items()}
    if unet.config.addition_embed_type:
        checkpoint |= {f"model.diffusion_model.label_emb.0.{i}.bias": torch.empty(0) for i in (0, 2)}
    # When diffusers converts it
    config = dict(unet.config)
    converted = convert_ldm_unet_checkpoint(
        checkpoint | {f"{key.removesuffix('weight')}bias": torch.empty(0) for key in checkpoint}, config
    )
    theirs = {
        name.removesuffix(".weight"): called[id(tensor)]
        for name, tensor in converted.items()
        if id(tensor) in called
    }
    # Then each module has the same two names here
    ours = {name: original for original, name in original_names(unet)}
    assert theirs.keys() == trained(unet).keys()
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_module_of_a_real_unet_is_known_by_its_original_name(
    unet: Any, write: Callable[..., Path], prefix: str
) -> None:
    tensors, alphas = {}, {}
    for name, shape in trained(unet).items():
        stem = PREFIXES[prefix](unet_name(f"{name}.weight", unet).removesuffix(".weight"))
        if len(shape) == 1:
            tensors[f"{stem}.w_norm"] = torch.zeros(shape, dtype=torch.float16)
            alphas[f"{name}.weight"] = 1.0
        else:
            tensors[f"{stem}.lora_down.weight"] = torch.zeros(1, *shape[1:], dtype=torch.float16)
            tensors[f"{stem}.lora_up.weight"] = torch.zeros(shape[0], 1, dtype=torch.float16)
            alphas[f"{name}.weight"] = float(len(alphas))
            tensors[f"{stem}.alpha"] = torch.tensor(alphas[f"{name}.weight"])
    found = read_lora(write(tensors), UNetLoraTargets({"unet": unet})).parts["unet"]
    assert {name: change.scaling for name, change in found.items()} == alphas


def test_the_upsampler_of_a_block_without_attention_comes_second(write: Callable[..., Path]) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SIZES["sd1"])
    stem = "lora_unet_output_blocks_2_1_conv"
    tensors = {f"{stem}.lora_down.weight": torch.ones(4, 1280, 3, 3)}
    tensors[f"{stem}.lora_up.weight"] = torch.ones(1280, 4, 1, 1)
    found = read_lora(write(tensors), UNetLoraTargets({"unet": unet}))
    assert list(found.parts["unet"]) == ["up_blocks.0.upsamplers.0.conv.weight"]
    wrong = {key.replace("_2_1_conv", "_2_2_conv"): tensor for key, tensor in tensors.items()}
    with pytest.raises(InvalidLora, match="match no module"):
        read_lora(write(wrong), UNetLoraTargets({"unet": unet}))


@functools.cache
def pipeline_of(layout: str) -> Any:
    """A pipeline whose weights nobody changes, or puts back."""
    return make_pipeline(layout)


def factors(stem: str, weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """A LoRA of one module, and the weight that it makes."""
    a, b = torch.randn(2, weight.shape[1]), torch.randn(len(weight), 2)
    tensors = {f"{stem}.lora_down.weight": a, f"{stem}.lora_up.weight": b, f"{stem}.alpha": torch.tensor(1.0)}
    return tensors, weight + 0.5 * b @ a


TEXT_MODULE = "encoder.layers.1.mlp.fc2"
#: How files call a module of a text encoder: layout, part, what precedes its name, and what joins its steps.
TEXT_NAMES = [
    ("sd1", "text_encoder", "text_encoders.clip_l.transformer.text_model.", "."),
    ("sd2", "text_encoder", "text_encoders.clip_h.transformer.text_model.", "."),
    ("sdxl", "text_encoder", "text_encoders.clip_l.transformer.text_model.", "."),
    ("sdxl", "text_encoder_2", "text_encoders.clip_g.transformer.text_model.", "."),
    ("sd1", "text_encoder", "lora_te_text_model_", "_"),
    ("sd1", "text_encoder", "lora_te1_text_model_", "_"),
    ("sd2", "text_encoder", "lora_te1_text_model_", "_"),
    ("sdxl", "text_encoder", "lora_te1_text_model_", "_"),
    ("sdxl", "text_encoder_2", "lora_te2_text_model_", "_"),
]


@pytest.mark.parametrize(("layout", "part", "prefix", "dot"), TEXT_NAMES)
def test_a_file_that_trains_a_text_encoder_alone_is_applied_to_it(
    write: Callable[..., Path], layout: str, part: str, prefix: str, dot: str
) -> None:
    pipe = pipeline_of(layout)
    models = {name: getattr(pipe, name) for name in ("unet", "text_encoder", part)}
    place = next(name for name, _ in models[part].named_modules() if name.endswith(TEXT_MODULE))
    weight = models[part].get_parameter(f"{place}.weight")
    torch.manual_seed(0)
    tensors, expected = factors(prefix + TEXT_MODULE.replace(".", dot), weight.detach().clone())
    lora = read_lora(write(tensors), UNetLoraTargets(models))
    assert {part: list(changes) for part, changes in lora.parts.items()} == {part: [f"{place}.weight"]}
    patcher = Patcher(models)
    patcher.apply([(lora, 1.0)])
    patched = models[part].get_parameter(f"{place}.weight").detach().clone()
    patcher.restore()
    assert torch.allclose(patched, expected, atol=1e-5)


def test_comfyuis_extracted_differences_reach_norms_biases_and_embeddings(write: Callable[..., Path]) -> None:
    pipe = pipeline_of("sd1")
    models = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    token = next(n for n, m in pipe.text_encoder.named_modules() if n.endswith("token_embedding"))
    places = {
        "diffusion_model.out.0.diff": ("unet", "conv_norm_out.weight"),
        "diffusion_model.out.0.diff_b": ("unet", "conv_norm_out.bias"),
        "diffusion_model.out.2.diff_b": ("unet", "conv_out.bias"),
        "diffusion_model.time_embed.2.diff": ("unet", "time_embedding.linear_2.weight"),
        "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.diff": (
            "text_encoder",
            f"{token}.weight",
        ),
    }
    tensors, expected = {}, {}
    torch.manual_seed(0)
    for key, (part, name) in places.items():
        weight = models[part].get_parameter(name).detach()
        tensors[key] = torch.randn(weight.shape)
        expected[part, name] = weight + 0.5 * tensors[key]
    patcher = Patcher(models)
    patcher.apply([(read_lora(write(tensors), UNetLoraTargets(models)), 0.5)])
    patched = {place: models[place[0]].get_parameter(place[1]).detach().clone() for place in expected}
    patcher.restore()
    for place, weight in expected.items():
        assert torch.allclose(patched[place], weight, atol=1e-6), place


def test_the_embeddings_of_onetrainers_bundle_are_left_out_and_named(write: Callable[..., Path]) -> None:
    pipe = pipeline_of("sd1")
    weight = pipe.unet.mid_block.attentions[0].proj_in.weight
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    tensors, _ = factors(stem, weight.detach().flatten(1))
    plain = read_lora(write(tensors), UNetLoraTargets({"unet": pipe.unet}))
    bundle = {
        "bundle_emb.my style.clip_l": torch.randn(2, 128),
        "bundle_emb.x.string_to_param.*": torch.ones(1),
    }
    found = read_lora(write(tensors | bundle), UNetLoraTargets({"unet": pipe.unet}))
    assert found.embeddings == ("my style", "x")
    assert plain.embeddings == ()
    name = "mid_block.attentions.0.proj_in.weight"
    assert list(found.parts["unet"]) == [name]
    assert torch.equal(found.parts["unet"][name].tensors["a"], plain.parts["unet"][name].tensors["a"])
    assert found.nbytes == plain.nbytes


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_mid_block_attentions_0_proj_in.oft_blocks",
        "lora_unet_mid_block_attentions_0_proj_in.oft_diag",
        "lora_unet_mid_block_attentions_0_proj_in.a1.weight",
        "lora_unet_mid_block_attentions_0_proj_in.on_input",
        "diffusion_model.middle_block.1.proj_in.set_weight",
        "diffusion_model.middle_block.1.proj_in.reshape_weight",
        "diffusion_model.input_blocks.99.0.lora_down.weight",
        "lora_unet_input_blocks_x.lora_down.weight",
    ],
)
def test_what_is_no_sum_with_a_weight_is_refused_by_name(write: Callable[..., Path], key: str) -> None:
    pipe = pipeline_of("sd1")
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    tensors, _ = factors(stem, pipe.unet.mid_block.attentions[0].proj_in.weight.detach().flatten(1))
    with pytest.raises(InvalidLora) as refused:
        read_lora(write(tensors | {key: torch.ones(4, 4)}), UNetLoraTargets({"unet": pipe.unet}))
    assert key in str(refused.value)
