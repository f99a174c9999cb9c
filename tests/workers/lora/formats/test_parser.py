"""Every way a LoRA file names its tensors, and every way it can be wrong."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.errors import InvalidLora
from tests.workers.lora.conftest import parts
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.matrices import LowRank
from workers.lora.formats.parser import read_lora
from workers.lora.lora_weights import LoraWeights
from workers.lora.weight_delta import WeightDelta

KOHYA_SIDE = {"A": "lora_down", "B": "lora_up"}
DIFFUSERS_SIDE = {"A": "down", "B": "up"}
RANK = 8

# How each style spells (part, module, side); None where the style has no name for such a module.
STYLES: dict[str, Callable[[str, str, str], str | None]] = {
    "peft": lambda part, module, side: f"{part}.{module}.lora_{side}.weight",
    "peft, not saved by peft": lambda part, module, side: (
        f"base_model.model.{part}.{module}.lora_{side}.default.weight"
    ),
    "bare": lambda _, module, side: f"{module}.lora_{side}.weight",
    "kohya": lambda part, module, side: (
        f"lora_unet_{flat(module)}.{KOHYA_SIDE[side]}.weight"
        if part == "unet"
        else f"lora_te_text_model_{flat(module)}.{KOHYA_SIDE[side]}.weight"
    ),
    "diffusers": lambda part, module, side: (
        f"{part}.{module}.lora.{DIFFUSERS_SIDE[side]}.weight"
        if part == "unet"
        else f"{part}.text_model.{module}.lora_linear_layer.{DIFFUSERS_SIDE[side]}.weight"
    ),
    "attention processors": lambda part, module, side: processor(part, module, DIFFUSERS_SIDE[side]),
}


def flat(module: str) -> str:
    return module.replace(".", "_")


def processor(part: str, module: str, side: str) -> str | None:
    parent, _, last = module.removesuffix(".0").rpartition(".")
    if part == "unet" and last in ("to_q", "to_k", "to_v", "to_out"):
        return f"{part}.{parent}.processor.{last}_lora.{side}.weight"
    if part == "text_encoder":
        return f"{part}.text_model.{parent}.to_{last.removesuffix('_proj')}_lora.{side}.weight"
    return None


def spelled(tensors: dict[str, Tensor], style_of: Callable[[int], str]) -> dict[str, Tensor]:
    """The same LoRA, its ``i``-th module in the style ``style_of(i)``, or PEFT's where that has no name."""
    modules = sorted({key.rsplit(".lora_", 1)[0] for key in tensors})
    renamed = {}
    for i, module in enumerate(modules):
        part, _, name = module.partition(".")
        for side in "AB":
            peft = f"{module}.lora_{side}.weight"
            renamed[STYLES[style_of(i)](part, name, side) or peft] = tensors[peft]
    return renamed


def same(one: LoraWeights, other: LoraWeights) -> bool:
    mine, yours = changes(one), changes(other)
    return mine.keys() == yours.keys() and all(
        mine[place].scaling == yours[place].scaling
        and mine[place].tensors.keys() == yours[place].tensors.keys()
        and all(
            torch.equal(ours.flatten(), yours[place].tensors[role].flatten())
            for role, ours in mine[place].tensors.items()
        )
        for place in mine
    )


def changes(weights: LoraWeights) -> dict[str, WeightDelta]:
    return {
        f"{part}.{name}": change for part, found in weights.parts.items() for name, change in found.items()
    }


@pytest.fixture
def read(pipe: StableDiffusionPipeline, write: Callable[..., Path]) -> Callable[..., LoraWeights]:
    """Writes tensors to a file and reads them for the embedded model."""

    def read(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> LoraWeights:
        return read_lora(write(tensors, metadata), UNetLoraTargets(parts(pipe)))

    return read


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_the_same_lora(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor], style: str
) -> None:
    peft = read(tensors)
    assert (len(peft.parts["unet"]), len(peft.parts["text_encoder"])) == (150, 12)
    assert same(read(spelled(tensors, lambda _: style)), peft)


def test_a_file_of_mixed_styles_loads_in_whole(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor]
) -> None:
    styles = list(STYLES)
    mixed = spelled(tensors, lambda i: styles[i % len(styles)])
    assert same(read(mixed), read(tensors))
    assert same(read(dict(reversed(mixed.items()))), read(tensors))


@pytest.mark.parametrize("linear", [False, True])
def test_kohya_names_of_every_module_of_a_real_unet_are_known(
    write: Callable[..., Path], linear: bool
) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, use_linear_projection=linear)
    tensors = {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            shape = module.weight.shape
            tensors[f"lora_unet_{flat(name)}.lora_down.weight"] = torch.zeros(1, *shape[1:])
            tensors[f"lora_unet_{flat(name)}.lora_up.weight"] = torch.zeros(shape[0], 1)
    assert (
        len(read_lora(write(tensors), UNetLoraTargets({"unet": unet})).parts["unet"])
        == len(tensors) / 2
        == 282
    )


def test_one_by_one_convolutions_may_be_stored_as_matrices(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor]
) -> None:
    squeezed = {
        key: tensor.flatten(1) if tensor.shape[2:] == (1, 1) else tensor for key, tensor in tensors.items()
    }
    assert same(read(squeezed), read(tensors))


def test_the_tensors_outlive_their_file(
    pipe: StableDiffusionPipeline, write: Callable[..., Path], tensors: dict[str, Tensor]
) -> None:
    # float32 tensors are not converted, and would stay views of the mapped file
    path = write({key: tensor.float() for key, tensor in tensors.items()})
    weights = read_lora(path, UNetLoraTargets(parts(pipe)))
    path.write_bytes(b"\0" * path.stat().st_size)
    key = "text_encoder.encoder.layers.0.self_attn.k_proj"
    delta = changes(weights)[f"{key}.weight"].matrix()
    assert torch.equal(cast(LowRank, delta).a, tensors[f"{key}.lora_A.weight"].float())


# --- how strongly it counts ---------------------------------------------------------------------

NAME = "down_blocks.0.attentions.0.proj_in"


def config(**options: Any) -> dict[str, str]:
    return {
        "lora_adapter_metadata": json.dumps({f"unet.{option}": value for option, value in options.items()})
    }


def test_without_an_alpha_the_products_count_as_they_are(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor]
) -> None:
    assert changes(read(tensors))[f"unet.{NAME}.weight"].scaling == 1.0


def test_kohyas_alpha_is_divided_by_each_modules_own_rank(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor]
) -> None:
    kohya = spelled(tensors, lambda _: "kohya")
    kohya[f"lora_unet_{flat(NAME)}.alpha"] = torch.tensor(2.0)
    found = changes(read(kohya))
    assert found[f"unet.{NAME}.weight"].scaling == 2 / RANK
    assert found["unet.mid_block.resnets.0.conv1.weight"].scaling == 1


@pytest.mark.parametrize(
    ("options", "scaling"),
    [
        ({"r": RANK, "lora_alpha": 16}, 2.0),
        ({"lora_alpha": 16, "use_rslora": True}, 16 / math.sqrt(RANK)),
        ({"lora_alpha": 16, "alpha_pattern": {"attentions.0.proj_in": 4}}, 0.5),
        ({"lora_alpha": 16, "alpha_pattern": {f"^{NAME}": 4}}, 0.5),
        ({"lora_alpha": 16, "alpha_pattern": {"^proj_in": 4, "j_in": 4}}, 2.0),
    ],
)
def test_pefts_configuration_in_the_header_decides_the_scaling(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor], options: dict[str, Any], scaling: float
) -> None:
    found = changes(read(tensors, config(**options)))
    assert found[f"unet.{NAME}.weight"].scaling == scaling
    assert found["text_encoder.encoder.layers.0.self_attn.k_proj.weight"].scaling == 1.0


@pytest.mark.parametrize(
    "metadata",
    [
        {"lora_adapter_metadata": "[]"},
        {"lora_adapter_metadata": "{"},
        {"lora_adapter_metadata": "[" * 100_000},
        config(lora_alpha="big"),
        config(lora_alpha=math.inf),
        config(lora_alpha=10**400),
        config(alpha_pattern=[4]),
        config(alpha_pattern={"(a+)+b": 4}),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    with pytest.raises(InvalidLora):
        read(tensors, metadata)


# --- what is refused ------------------------------------------------------------------------------


def test_keys_that_match_no_module_are_named_up_to_five(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor]
) -> None:
    for i in range(4):
        for side in "AB":
            tensors = tensors | {f"unet.attic.{i}.lora_{side}.weight": torch.zeros(RANK, RANK)}
    with pytest.raises(InvalidLora, match=r"match no module of this model: unet\.attic\.0.* and 3 more"):
        read(tensors)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in.dora_scale", "do not go together"),
        ("unet.mid_block.attentions.0.proj_in.lora_magnitude_vector", "DoRA norms rows or inputs"),
        ("unet.mid_block.attentions.0.proj_in.dora_scale", "DoRA norms rows or inputs"),
        ("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", "do not go together"),
        ("unet.mid_block.attentions.0.proj_in.lokr_w1", "do not go together"),
        ("unet.mid_block.attentions.0.proj_in.lora_B.bias", "the bias of"),
        ("unet.mid_block.attentions.0.proj_in.diff_b", "the bias of"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.bias", "there is none"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_mid.weight", "do not go together"),
        ("unet.mid_block.attentions.0.proj_in.oft_blocks", "no part of a LoRA"),
        ("unet.mid_block.attentions.0.proj_in.weight", "no part of a LoRA"),
        ("text_encoder_2.encoder.layers.0.fc1.lora_A.weight", "other half"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "other half"),
        ("unet.attic.alpha", "do not go together"),
        ("unet.conv_out.lora_A.weight", "other half"),
        ("lora_unet_conv_out.lora_up.weight", "other half"),
    ],
)
def test_one_key_too_many_is_named_and_refused(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor], key: str, why: str
) -> None:
    with pytest.raises(InvalidLora) as error:
        read(tensors | {key: torch.ones(2, 2)})
    assert why in str(error.value)
    assert key in str(error.value)


def test_a_module_named_twice_is_refused(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor]
) -> None:
    with pytest.raises(InvalidLora, match=r"all name text_encoder\..*: lora_te_text_.*, text_encoder\."):
        read(tensors | spelled(tensors, lambda _: "kohya"))


def test_a_text_encoder_that_is_not_there_cannot_be_trained(
    pipe: StableDiffusionPipeline, write: Callable[..., Path], tensors: dict[str, Tensor]
) -> None:
    with pytest.raises(InvalidLora, match="match no module of this model: text_encoder"):
        read_lora(write(tensors), UNetLoraTargets({"unet": pipe.unet}))


@pytest.mark.parametrize("side", "AB")
@pytest.mark.parametrize("change", ["transposed", "cut", "scalar", "nan", "integers"])
def test_tensors_of_the_wrong_shape_or_kind_are_named_and_refused(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor], side: str, change: str
) -> None:
    key = f"unet.{NAME}.lora_{side}.weight"
    tensor = tensors[key]
    wrong = {
        "transposed": tensor.transpose(0, 1),
        "cut": tensor[:-1, :-1],
        "scalar": torch.tensor(1.0),
        "nan": torch.full_like(tensor, math.nan),
        "integers": tensor.to(torch.int32),
    }[change]
    with pytest.raises(InvalidLora, match=NAME.replace(".", r"\.")):
        read(tensors | {key: wrong})


@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"PK\x03\x04" * 30, b"\x02" + b"\0" * 7 + b"{}"])
def test_what_is_no_safetensors_file_is_refused(
    pipe: StableDiffusionPipeline, tmp_path: Path, body: bytes
) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(body)
    with pytest.raises(InvalidLora):
        read_lora(path, UNetLoraTargets(parts(pipe)))


FRAGMENTS = [
    *("lora_unet_", "lora_te_", "lora_te1_", "unet.", "text_encoder.", "text_model.", "base_model.model."),
    *("input_blocks_", "input_blocks_4_1_", "output_blocks_x", "middle_block_7", "down_blocks", "emb", "op"),
    *("_", ".", "0", ".processor.", ".to_q_lora", ".lora", ".lora_A", ".lora_B.x", ".lora_down", ".lora_up"),
    *(".down", ".up", ".alpha", ".weight"),
]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(FRAGMENTS),
        max_size=8,
    ).map("".join)
)
@example("lora_unet_input_blocks_x.lora_down.weight")
def test_no_name_does_more_than_be_refused(
    read: Callable[..., LoraWeights], tensors: dict[str, Tensor], stem: str
) -> None:
    few = {key: tensor for key, tensor in tensors.items() if NAME in key}
    strange = {stem: torch.zeros(2, 2)}
    if ".lora_down" in stem:
        strange[stem.replace(".lora_down", ".lora_up")] = torch.zeros(2, 2)
    try:
        weights = read(few | strange)
    except InvalidLora:
        return
    assert len(changes(weights)) == 1 + (len(strange) == 2)


def test_the_hash_is_that_of_the_file(
    pipe: StableDiffusionPipeline, lora_file: Callable[[str], Path]
) -> None:
    path = lora_file("twemoji")
    weights = read_lora(path, UNetLoraTargets(parts(pipe)))
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
