"""Every form of LoRA that Z-Image is trained in changes the weights that diffusers changes, by as much."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import InvalidLora
from tests.tiny_transformers import make_z_image
from tests.workers.lora import pipelines
from tests.workers.lora.conftest import weights_of
from tests.workers.lora.pipelines import down_up, factors, kohya, linears, peft
from workers.families.z_image.lora_targets import z_image_lora_targets
from workers.families.z_image.model import ZImageModel
from workers.lora.formats.parser import read_lora

PARTS = ("transformer",)
WIDTH = 36


@pytest.fixture(scope="module")
def pipe() -> Any:
    return make_z_image(layers=2)


def fused(pipe: Any) -> dict[str, tuple[int, int]]:
    """Shapes of every linear layer, with the first release's names of those of the attentions."""
    shapes = linears(pipe.transformer)
    for name in list(shapes):
        block, _, layer = name.partition(".attention.")
        if layer:
            del shapes[name]
            shapes |= {
                f"{block}.attention.qkv": (3 * WIDTH, WIDTH),
                f"{block}.attention.out": (WIDTH, WIDTH),
            }
    return shapes


def first_release(pipe: Any) -> dict[str, tuple[int, int]]:
    """The same with its names of what comes before and after the layers."""
    return {
        name.replace("all_x_embedder.2-1", "x_embedder").replace("all_final_layer.2-1", "final_layer"): shape
        for name, shape in fused(pipe).items()
    }


def lokr(pipe: Any, prefix: str, *, alpha: bool) -> dict[str, Tensor]:
    """Kronecker products, the second factor in two, as ai-toolkit trains them."""
    torch.manual_seed(0)
    tensors = {}
    for name, (rows, columns) in linears(pipe.transformer, "layers.").items():
        stem = prefix + name
        tensors[f"{stem}.lokr_w1"] = torch.randn(2, 2)
        tensors[f"{stem}.lokr_w2_a"] = torch.randn(rows // 2, 4) * 0.2
        tensors[f"{stem}.lokr_w2_b"] = torch.randn(4, columns // 2) * 0.2
        if alpha:
            tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    return tensors


def anime_z(pipe: Any, prefix: str) -> dict[str, Tensor]:
    """With dots in the names of the factors and of query, key and value, which are there as one, too."""
    ends = ".lora.down.weight", ".lora.up.weight"
    split = factors({prefix + name: shape for name, shape in linears(pipe.transformer).items()}, *ends)
    both = {
        prefix + name: shape
        for name, shape in fused(pipe).items()
        if name.endswith((".qkv", "attention.out"))
    }
    repeats = factors(both, *ends)
    return {re.sub(r"\.to_([qkv])\.", r".to.\1.", key): tensor for key, tensor in split.items()} | repeats


FORMS: dict[str, Callable[[Any], dict[str, Tensor]]] = {
    "PEFT": lambda pipe: peft(linears(pipe.transformer), "transformer."),
    "ai-toolkit and ComfyUI": lambda pipe: peft(linears(pipe.transformer), "diffusion_model."),
    "ComfyUI with alphas": lambda pipe: peft(linears(pipe.transformer), "diffusion_model.", alpha=".alpha"),
    "kohya's words": lambda pipe: down_up(linears(pipe.transformer), "diffusion_model.", alpha=".alpha"),
    "kohya": lambda pipe: kohya(linears(pipe.transformer, "layers", "refiner"), "lora_unet_"),
    "kohya, fused": lambda pipe: kohya(
        {name: shape for name, shape in fused(pipe).items() if "attention" in name}, "lora_unet_"
    ),
    "Anime-Z": lambda pipe: anime_z(pipe, "diffusion_model."),
    "Anime-Z with underscores": lambda pipe: {
        key.replace(".", "_", key.count(".") - 3): tensor
        for key, tensor in anime_z(pipe, "lora_unet_").items()
        if key.startswith("lora_unet_layers")
    },
    "Anime-Z, fused alone": lambda pipe: {
        key: tensor
        for key, tensor in anime_z(pipe, "diffusion_model.").items()
        if not (".to.q" in key or ".to.k" in key or ".to.v" in key or ".to_out" in key)
    },
    "LoKr": lambda pipe: lokr(pipe, "diffusion_model.", alpha=False),
    "LoKr with alphas": lambda pipe: lokr(pipe, "diffusion_model.", alpha=True),
    "LoKr in PEFT's names": lambda pipe: lokr(pipe, "transformer.", alpha=False),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_patched_model_has_the_weights_that_diffusers_fuses(pipe: Any, tmp_path: Path, form: str) -> None:
    path = pipelines.write(tmp_path / "lora.safetensors", FORMS[form](pipe))
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, z_image_lora_targets, path, 0.7, PARTS)
    theirs = pipelines.by_diffusers(pipe, path, 0.7, PARTS)
    pipelines.check_equal(ours, theirs, base)


@pytest.mark.parametrize("names", [fused, first_release], ids=["fused", "first release"])
def test_fused_layers_are_the_same_in_every_form(
    pipe: Any, tmp_path: Path, names: Callable[[Any], dict[str, tuple[int, int]]]
) -> None:
    shapes = names(pipe)
    every = {f"{name}.weight" for name in linears(pipe.transformer)}
    added = {}
    for form, tensors in {
        "kohya": kohya(shapes, "lora_unet_"),
        "PEFT": peft(shapes, "diffusion_model.", alpha=".alpha"),
        "ComfyUI": down_up(shapes, "diffusion_model.", alpha=".alpha"),
    }.items():
        lora = read_lora(
            pipelines.write(tmp_path / "lora.safetensors", tensors),
            z_image_lora_targets(pipelines.parts_of(pipe, PARTS)),
        )
        added[form] = pipelines.changes(lora)
        assert added[form].keys() == every
    for name in every:
        assert torch.equal(added["kohya"][name], added["PEFT"][name])
        assert torch.equal(added["kohya"][name], added["ComfyUI"][name])


def test_a_loaded_model_finds_the_names_of_the_first_release(pipe: Any, tmp_path: Path) -> None:
    path = pipelines.write(tmp_path / "lora.safetensors", kohya(first_release(pipe), "lora_unet_"))
    lora = read_lora(path, ZImageModel("z-image", pipe).lora_targets)
    assert len(lora.parts["transformer"]) == len(linears(pipe.transformer))


def anime_z_of(*names: str) -> dict[str, Tensor]:
    shapes = {f"layers.0.attention.{name}": (WIDTH, WIDTH) for name in names}
    shapes["layers.0.attention.qkv"] = (3 * WIDTH, WIDTH)
    return factors(shapes, ".lora.down.weight", ".lora.up.weight")


REFUSED = {
    "Anime-Z's without a part of what is one": (anime_z_of("to.q", "to.v"), "all name transformer.layers.0."),
    "Flux's": (kohya({"double_blocks.0.img_attn.proj": (32, 32)}, "lora_unet_"), "match no module"),
    "a text encoder's": (
        kohya({"model.layers.0.self_attn.q_proj": (32, 32)}, "lora_te1_"),
        "match no module.*lora_te1_model",
    ),
    "both fused and split": (
        kohya(
            {"layers.0.attention.qkv": (3 * WIDTH, WIDTH), "layers.0.attention.to_q": (WIDTH, WIDTH)},
            "lora_unet_",
        ),
        "all name transformer.layers.0.attention.to_q",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_applied_whole_is_refused_by_its_keys(pipe: Any, tmp_path: Path, what: str) -> None:
    tensors, error = REFUSED[what]
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InvalidLora, match=error):
        read_lora(path, z_image_lora_targets(pipelines.parts_of(pipe, PARTS)))
