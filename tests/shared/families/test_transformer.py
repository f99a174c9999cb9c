"""Facts of the transformer families, against what diffusers reads of a ControlNet's residuals."""

from typing import Any

import pytest
import torch
from diffusers import (
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
)

from shared.catalog.schedulers import SCHEDULERS, schedulers_of
from shared.families.base import FamilyFacts
from shared.families.controlnets import incompatibility
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.registry import (
    family_of,
    family_of_controlnet,
    family_of_controlnet_file,
    family_of_file,
    family_of_pipeline,
)
from shared.families.sd3 import SD3
from shared.families.transformer import TransformerFacts
from shared.families.z_image import Z_IMAGE, most_caption_tokens

FAMILIES: list[TransformerFacts] = [FLUX, SD3, QWEN_IMAGE, Z_IMAGE]
TOKENS = 4


class ReadIndices(list[torch.Tensor]):
    """Residuals of zeros that remember which of them were read, in that order."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__([torch.zeros(1, TOKENS, width)] * count)
        self.read: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        self.read.append(index)
        return super().__getitem__(index)


def read_by_flux(base: dict[str, int], double: int, single: int, *, repeats: bool = False) -> list[int]:
    model = FluxTransformer2DModel(
        **base, in_channels=4, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=8,
        pooled_projection_dim=8, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    doubles, singles = ReadIndices(double, 16), ReadIndices(single, 16)
    model(
        torch.zeros(1, TOKENS, 4),
        encoder_hidden_states=torch.zeros(1, 2, 8),
        pooled_projections=torch.zeros(1, 8),
        timestep=torch.ones(1),
        img_ids=torch.zeros(TOKENS, 3),
        txt_ids=torch.zeros(2, 3),
        controlnet_block_samples=doubles if double else None,
        controlnet_single_block_samples=singles if single else None,
        controlnet_blocks_repeat=repeats,
    )
    return [*doubles.read, *(double + index for index in singles.read)]


def read_by_sd3(blocks: int, residuals: int) -> list[int]:
    model = SD3Transformer2DModel(
        sample_size=4, num_layers=blocks, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=8,
        caption_projection_dim=16, pooled_projection_dim=8, pos_embed_max_size=4, in_channels=4,
        out_channels=4,
    )  # fmt: skip
    given = ReadIndices(residuals, 16)
    model(
        torch.zeros(1, 4, 4, 4),
        encoder_hidden_states=torch.zeros(1, 2, 8),
        pooled_projections=torch.zeros(1, 8),
        timestep=torch.ones(1),
        block_controlnet_hidden_states=given,
    )
    return given.read


def read_by_qwen_image(blocks: int, residuals: int) -> list[int]:
    model = QwenImageTransformer2DModel(
        in_channels=4, out_channels=1, num_layers=blocks, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=8, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    given = ReadIndices(residuals, 16)
    model(
        torch.zeros(1, TOKENS, 4),
        encoder_hidden_states=torch.zeros(1, 2, 8),
        timestep=torch.ones(1),
        img_shapes=[[(1, 2, 2)]],
        controlnet_block_samples=given,
    )
    return given.read


@pytest.mark.parametrize(
    ("double", "single", "repeats"),
    [(3, 4, False), (5, 0, False), (4, 0, False), (0, 3, False), (2, 0, True)],
    ids=["both", "one is never read", "doubles", "singles", "XLabs"],
)
@torch.inference_mode()
def test_a_plan_of_flux_names_what_diffusers_reads(double: int, single: int, repeats: bool) -> None:
    base = {"num_layers": 6, "num_single_layers": 5}
    controlnet: dict[str, Any] = {"num_layers": double, "num_single_layers": single}
    if repeats:
        controlnet["conditioning_embedding_channels"] = 16
    plan = FLUX.control_plan(controlnet, base)
    assert len(plan.places) == 11
    assert [index for index in plan.places if index is not None] == read_by_flux(
        base, double, single, repeats=repeats
    )


@pytest.mark.parametrize(("blocks", "residuals"), [(6, 3), (6, 5), (5, 5), (4, 3), (3, 6)])
@torch.inference_mode()
def test_a_plan_of_sd3_names_what_diffusers_reads(blocks: int, residuals: int) -> None:
    plan = SD3.control_plan({"num_layers": residuals}, {"num_layers": blocks})
    assert [index for index in plan.places if index is not None] == read_by_sd3(blocks, residuals)
    assert plan.places[-1] is None


@pytest.mark.parametrize(("blocks", "residuals"), [(6, 2), (7, 3), (5, 4), (3, 3)])
@torch.inference_mode()
def test_a_plan_of_qwen_image_names_what_diffusers_reads(blocks: int, residuals: int) -> None:
    plan = QWEN_IMAGE.control_plan({"num_layers": residuals}, {"num_layers": blocks})
    assert list(plan.places) == read_by_qwen_image(blocks, residuals)


def test_a_plan_of_z_image_has_a_residual_at_each_layer_that_the_controlnet_names() -> None:
    plan = Z_IMAGE.control_plan({"control_layers_places": [0, 2, 5]}, {"n_layers": 5})
    assert plan.places == (0, None, 1, None, None)
    assert plan.wanted == (0, 1)
    assert Z_IMAGE.control_plan({"control_layers_places": [0, 2, 5]}, None).wanted == (0, 1, 2)


@pytest.mark.parametrize("facts", FAMILIES, ids=lambda facts: facts.name)
def test_a_transformer_and_its_controlnet_are_known_by_their_class(facts: TransformerFacts) -> None:
    (kind,) = facts.transformer_classes
    assert family_of({"transformer": {"_class_name": kind}, "vae": {}}) is facts
    assert family_of_controlnet({"_class_name": facts.controlnet_classes[0]}) is facts
    assert all(family_of_pipeline(f"{name}Pipeline") is facts for name in facts.pipelines)


@pytest.mark.parametrize(
    "name", ["Flux2", "FluxFill", "FluxKontext", "FluxControl", "QwenImageEdit", "QwenImageLayered", "Sana",
             "HunyuanDiT", "ZImageOmni"],
)  # fmt: skip
def test_pipelines_that_are_not_served_are_of_no_family(name: str) -> None:
    assert family_of_pipeline(f"{name}Pipeline") is None


@pytest.mark.parametrize("facts", FAMILIES, ids=lambda facts: facts.name)
@pytest.mark.parametrize("value", ["many", None, [1], {"a": 1}, -3, True])
def test_a_config_of_other_types_raises_nothing(facts: FamilyFacts, value: Any) -> None:
    names = ("num_layers", "num_single_layers", "num_attention_heads", "joint_attention_dim", "num_mode",
             "control_layers_places", "extra_conditioning_channels", "extra_condition_channels", "dim",
             "sample_size", "pos_embed_max_size", "patch_size", "n_layers", "in_channels",
             "axes_lens")  # fmt: skip
    config = dict.fromkeys(names, value)
    facts.signature(config)
    facts.control_plan(config, config)
    facts.controlnet_traits(config)
    configs = {"transformer": config, "vae": {"block_out_channels": value, "temperal_downsample": value}}
    facts.default_size(configs)
    facts.largest_side(configs)


@pytest.mark.parametrize("facts", FAMILIES, ids=lambda facts: facts.name)
def test_a_transformers_schedulers_are_known_and_match_flows(facts: FamilyFacts) -> None:
    assert facts.defaults.scheduler in schedulers_of(facts)
    assert all(SCHEDULERS[name].shift_option for name in schedulers_of(facts))


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        (FLUX, ["double_blocks.0.img_attn.qkv.weight", "double_blocks.0.img_mod.lin.weight",
                "single_blocks.0.linear1.weight"]),
        (SD3, ["joint_blocks.0.x_block.attn.qkv.weight", "joint_blocks.0.context_block.attn.qkv.weight"]),
        (Z_IMAGE, ["layers.0.adaLN_modulation.0.weight", "noise_refiner.0.a", "context_refiner.0.a",
                   "cap_pad_token"]),
        (QWEN_IMAGE, ["transformer_blocks.0.img_mod.1.weight", "transformer_blocks.0.txt_mod.1.weight",
                      "txt_norm.weight"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_the_weights_of_a_single_file_say_its_family(facts: FamilyFacts, names: list[str]) -> None:
    assert family_of_file(names) is facts
    prefixed = [f"model.diffusion_model.{name}" for name in names]
    assert family_of_file([*prefixed, "vae.a", "text_encoders.a"]) is facts
    assert family_of_file([f"{name}.lora_A.weight" for name in names]) is None
    assert family_of_controlnet_file(names) is None


def test_a_z_image_controlnet_in_one_file_is_known() -> None:
    names = ["control_all_x_embedder.2-1.weight", "control_layers.0.adaLN_modulation.0.weight"]
    assert family_of_controlnet_file(names) is Z_IMAGE
    assert family_of_file(names) is None


def test_a_controlnet_of_another_width_or_family_does_not_fit() -> None:
    dev = FLUX.signature({"_class_name": "FluxTransformer2DModel", "guidance_embeds": True})
    assert incompatibility("n", FLUX.signature({"num_mode": 10}), "m", dev) is None
    narrow = incompatibility("n", FLUX.signature({"num_attention_heads": 12}), "m", dev)
    assert narrow is not None
    assert "width 1536" in narrow
    other = incompatibility("n", QWEN_IMAGE.signature({}), "m", dev)
    assert other is not None
    assert "Qwen-Image" in other
    # SD 3.5 large's kind of ControlNet has no text embedder
    large = {"num_attention_heads": 38, "joint_attention_dim": None}
    base = SD3.signature({"num_attention_heads": 38, "joint_attention_dim": 4096})
    assert incompatibility("n", SD3.signature(large), "m", base) is None


def test_only_controlnets_of_one_layout_are_summed() -> None:
    layouts = [
        FLUX.controlnet_traits(config).layout
        for config in (
            {"num_layers": 5, "num_single_layers": 10},
            {"num_layers": 15, "num_single_layers": 0},
            {"num_layers": 2, "num_single_layers": 0},
            {"num_layers": 2, "num_single_layers": 0, "conditioning_embedding_channels": 16},
        )
    ]
    assert len(set(layouts)) == 4


@pytest.mark.parametrize(
    ("facts", "configs", "size"),
    [
        (FLUX, {"vae": {"block_out_channels": [1, 2, 3, 4]}}, (1024, 1024)),
        (SD3, {"transformer": {"sample_size": 64}, "vae": {"block_out_channels": [1, 2, 3, 4]}}, (512, 512)),
        (QWEN_IMAGE, {"vae": {"temperal_downsample": [False, True, True]}}, (1024, 1024)),
        (Z_IMAGE, {}, (1024, 1024)),
        (FLUX, {}, None),
    ],
)
def test_the_default_size_is_that_of_the_pipeline(
    facts: FamilyFacts, configs: dict[str, Any], size: tuple[int, int] | None
) -> None:
    assert facts.default_size(configs) == size


@pytest.mark.parametrize("facts", [FLUX, SD3, QWEN_IMAGE], ids=lambda facts: facts.name)
@pytest.mark.parametrize("count", [10**10, 10**30, 10**400])
def test_a_config_of_more_blocks_than_any_model_has_counts_as_one_that_says_nothing(
    facts: TransformerFacts, count: int
) -> None:
    assert facts.control_plan({"num_layers": count}, {}) == facts.control_plan({}, {})
    facts.controlnet_traits({"num_layers": count})


def test_models_with_a_table_of_positions_have_them_for_so_many_pixels() -> None:
    configs: dict[str, Any] = {"vae": {"block_out_channels": [1, 2, 3, 4]}}
    assert [facts.largest_side(configs) for facts in FAMILIES] == [None, 96 * 2 * 8, None, 512 * 16]
    assert SD3.largest_side(configs | {"transformer": {"pos_embed_max_size": 384}}) == 384 * 2 * 8
    assert SD3.largest_side({}) is None
    assert Z_IMAGE.largest_side({"transformer": {"axes_lens": [1536, 64, 128]}}) == 64 * 16


def test_z_image_has_positions_for_captions_of_so_many_tokens() -> None:
    assert most_caption_tokens({"axes_lens": [1536, 512, 512]}) == 1504
    assert most_caption_tokens({"axes_lens": [1026, 512, 512]}) == 1024  # and for the image's one after it
    assert most_caption_tokens({}) == 992
    assert most_caption_tokens({"axes_lens": [1024, 512]}) is None
