"""How names in a LoRA file are spelt, whatever the family of the transformer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from diffusers import (
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from workers.families.flux.lora_targets import flux_lora_targets
from workers.families.qwen_image.lora_targets import qwen_image_lora_targets
from workers.families.sd3.lora_targets import sd3_lora_targets
from workers.families.transformer.lora_targets import OriginalModule, TransformerLoraTargets
from workers.families.z_image.lora_targets import z_image_lora_targets
from workers.lora.formats.key_mapping import group_keys
from workers.lora.targets import FileRows, LoraTarget


class Toy(nn.Module):
    """Two layers that its authors have as one, and a tied layer."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k = nn.Linear(4, 2), nn.Linear(4, 6)
        self.first_in = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first_in.weight


def toy_original_modules(transformer: nn.Module) -> list[OriginalModule]:
    return [OriginalModule("both.qk", ("to_q", "to_k")), OriginalModule("gone", ("to_v",))]


@pytest.fixture(scope="module")
def targets() -> TransformerLoraTargets:
    return TransformerLoraTargets(
        {"transformer": Toy(), "text_encoder": Toy()}, toy_original_modules, {"lora_te1_": "text_encoder"}
    )


def find(targets: TransformerLoraTargets, stem: str) -> list[LoraTarget]:
    groups = group_keys([f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"])
    assert list(groups) == [stem]
    return [target for _, target in targets.find(groups)]


@pytest.mark.parametrize(
    "stem",
    [
        *("first_in", "transformer.first_in", "diffusion_model.first_in", "model.diffusion_model.first_in"),
        *("base_model.model.first_in", "base_model.model.transformer.first_in"),
        *("lora_unet_first_in", "lora_transformer_first_in", "lycoris_first_in"),
    ],
)
def test_a_module_is_found_after_every_prefix(targets: TransformerLoraTargets, stem: str) -> None:
    assert find(targets, stem) == [LoraTarget("transformer", "first_in")]


@pytest.mark.parametrize("stem", ["text_encoder.first_in", "lora_te1_first_in"])
def test_a_text_encoder_is_found_by_its_own_prefixes(targets: TransformerLoraTargets, stem: str) -> None:
    assert find(targets, stem) == [LoraTarget("text_encoder", "first_in")]


@pytest.mark.parametrize(
    "stem",
    [
        *(
            "gone",
            "to_v",
            "lora_te2_first_in",
            "text_encoder_2.first_in",
            "unet.first_in",
            "lora_te1_both_qk",
        ),
        "tied",  # whoever writes the layer that has the weight writes this one, too
        *("transformer.transformer.first_in", "lora_unet_lora_unet_first_in", "transformer."),
    ],
)
def test_other_names_mean_nothing(targets: TransformerLoraTargets, stem: str) -> None:
    assert find(targets, stem) == []


@pytest.mark.parametrize("stem", ["both.qk", "lora_unet_both_qk"])
def test_a_fused_module_is_the_rows_of_those_in_its_place(targets: TransformerLoraTargets, stem: str) -> None:
    assert find(targets, stem) == [
        LoraTarget("transformer", "to_q", FileRows((slice(0, 2),), 8)),
        LoraTarget("transformer", "to_k", FileRows((slice(2, 8),), 8)),
    ]


FAMILIES: dict[
    str, tuple[Callable[..., Any], Callable[[Mapping[str, nn.Module]], TransformerLoraTargets]]
] = {
    "Flux": (functools.partial(FluxTransformer2DModel, guidance_embeds=True), flux_lora_targets),
    "SD 3.5": (
        functools.partial(
            SD3Transformer2DModel, num_layers=24, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))
        ),
        sd3_lora_targets,
    ),
    "Qwen-Image": (QwenImageTransformer2DModel, qwen_image_lora_targets),
    "Z-Image": (ZImageTransformer2DModel, z_image_lora_targets),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_modules_of_a_family_are_spelt_alike(family: str) -> None:
    make, make_targets = FAMILIES[family]
    with torch.device("meta"):
        transformer = make()
        clip = CLIPTextModelWithProjection(CLIPTextConfig())
        t5 = T5EncoderModel(T5Config(num_layers=24))
    parts = {"transformer": transformer, "text_encoder": clip, "text_encoder_2": t5, "text_encoder_3": t5}
    targets = make_targets(parts)
    for part, model in parts.items():
        # By its spelling without dots, the modules that a name means
        meant = {name.replace(".", "_"): {(name,)} for name, _ in model.named_modules() if name}
        assert len(meant) == len([name for name, _ in model.named_modules() if name])
        if part == "transformer":
            for original in targets.original_modules(transformer):
                meant.setdefault(original.name.replace(".", "_"), set()).add(original.ours)
        assert [spelling for spelling, modules in meant.items() if len(modules) > 1] == []
    trained = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    stems = {f"lora_unet_{name.replace('.', '_')}": name for name in trained}
    found = dict(targets.find({stem: {} for stem in stems}))
    assert {stem: target.name for stem, target in found.items()} == stems
