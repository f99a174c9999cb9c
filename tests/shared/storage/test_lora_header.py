import time
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import InvalidLora
from shared.families.controlnets import ModelSignature
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.registry import registered
from shared.families.sd3 import SD3
from shared.families.unet import SD1, SDXL
from shared.storage.lora_header import LoraInfo, incompatibility, inspect_lora, refuse_pickle
from shared.storage.safetensors_header import MAX_HEADER_BYTES, TensorInfo, header_bytes

PEFT = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def unet(width: int) -> ModelSignature:
    return SD1.signature({"cross_attention_dim": width})


def inspect(shapes: dict[str, list[int]], dtype: str = "F32", **metadata: str) -> LoraInfo:
    tensors = {key: TensorInfo(dtype, tuple(shape), (0, 0)) for key, shape in shapes.items()}
    return inspect_lora(tensors, metadata)


@pytest.mark.parametrize(
    "shapes",
    [
        {f"{PEFT}.lora_A.weight": [4, 768], f"{PEFT}.lora_B.weight": [320, 4]},
        {f"{PEFT}_lora.down.weight": [4, 768], f"{PEFT}_lora.up.weight": [320, 4]},
        {"unet.mid.attn2.processor.to_k_lora.down.weight": [4, 768]},
        {f"{KOHYA}.lora_down.weight": [4, 768], f"{KOHYA}.alpha": []},
        {f"{KOHYA}.hada_w1_a": [320, 4], f"{KOHYA}.hada_w1_b": [4, 768], f"{KOHYA}.hada_w2_b": [4, 768]},
        {"diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.lora_up.weight": [320, 4]}
        | {"diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.lora_down.weight": [4, 768]},
        {f"{KOHYA}.lokr_w1": [16, 8], f"{KOHYA}.lokr_w2_a": [20, 4], f"{KOHYA}.lokr_w2_b": [4, 96]},
    ],
    ids=["peft", "diffusers", "processor", "kohya", "loha", "comfyui", "lokr"],
)
def test_every_format_tells_its_rank_and_the_base_it_was_trained_for(shapes: dict[str, list[int]]) -> None:
    info = inspect(shapes)
    assert (info.rank, info.cross_attention_dim, info.family, info.parts) == (4, 768, "sd1", ["unet"])


def test_a_full_difference_in_lycoris_own_names_is_a_lora() -> None:
    info = inspect({"lycoris_conv_in.diff": [320, 4, 3, 3]})
    assert (info.rank, info.family, info.parts) == (0, None, ["unet"])


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl"), (128, None)])
def test_the_width_of_cross_attention_tells_the_family(width: int, family: str | None) -> None:
    info = inspect({f"{PEFT}.lora_A.weight": [4, width]}, ss_base_model_version="sd_v1")
    assert (info.cross_attention_dim, info.family) == (width, family)


@pytest.mark.parametrize(
    ("metadata", "family"),
    [
        ({"ss_base_model_version": "sd_v1"}, "sd1"),
        ({"ss_base_model_version": "sd_v2_v"}, "sd2"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, "sd2"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "flux"),
        ({"modelspec.architecture": "flux-2-dev/lora"}, None),
        ({"modelspec.architecture": "stable-diffusion-3.5-large/lora"}, "sd3"),
        ({"modelspec.architecture": "Qwen-Image/lora"}, "qwen-image"),
        ({"modelspec.architecture": "qwen-image-edit/lora"}, None),
        ({"modelspec.architecture": "Z-Image/lora"}, "z-image"),
        ({"ss_base_model_version": "sd_1.5"}, "sd1"),
        ({"ss_base_model_version": "sdxl_1.0"}, "sdxl"),
        ({"ss_v2": "True"}, "sd2"),
        ({"ss_v2": "False"}, None),
        ({"ss_v2": "False", "ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({"modelspec.architecture": "lora", "ss_base_model_version": "SD_V1"}, "sd1"),
        ({"ss_sd_model_name": "sd_v1-5.safetensors"}, None),
        ({}, None),
    ],
)
def test_without_cross_attention_the_trainers_word_counts(metadata: dict[str, str], family: str) -> None:
    assert inspect({"unet.down.attn1.to_q.lora_A.weight": [4, 320]}, **metadata).family == family


def test_two_text_encoders_beside_a_unet_are_sdxl() -> None:
    encoders = {"lora_te1_q.lora_down.weight": [4, 768], "lora_te2_q.lora_down.weight": [8, 1280]}
    info = inspect({**encoders, "unet.conv_in.lora_A.weight": [4, 4, 3, 3]})
    assert (info.family, info.rank) == ("sdxl", 8)
    assert info.parts == ["text_encoder", "text_encoder_2", "unet"]
    # Without one they may be Stable Diffusion 3's
    assert inspect(encoders).family is None


TE1 = "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"
TE2 = "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"


@pytest.mark.parametrize(
    ("key", "metadata", "family"),
    [
        (TE1, {"ss_base_model_version": "sd_v1"}, "sd1"),
        (TE1, {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        (TE1, {"ss_base_model_version": "sd_v2"}, "sd2"),
        (TE1, {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        (TE1, {}, None),
        (TE2, {}, None),
        (TE2, {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight", {}, None),
        ("text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight", {}, None),
    ],
)
def test_of_a_text_encoder_alone_the_files_own_word_counts_before_a_guess(
    key: str, metadata: dict[str, str], family: str | None
) -> None:
    assert inspect({key: [4, 768]}, **metadata).family == family


def test_a_text_encoder_of_sd1_alone_fits_sd1_though_its_name_is_numbered() -> None:
    info = inspect({TE1: [4, 768]}, ss_base_model_version="sd_v1")
    assert incompatibility(info, unet(768)) is None
    assert incompatibility(info, unet(2048)) is not None
    assert incompatibility(inspect({TE1: [4, 768]}), unet(768)) is None


@pytest.mark.parametrize(
    ("stem", "part"),
    [
        ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "text_encoder_2"),
        ("lora_te1_text_model_encoder_layers_0_self_attn_out_proj.hada_w1_b", "text_encoder"),
        ("text_encoder_2.encoder.layers.11.mlp.fc1.lora_A.weight", "text_encoder_2"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight", "text_encoder"),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_linear_layer.down.weight",
            "text_encoder",
        ),
        (
            "text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight",
            "text_encoder_2",
        ),
    ],
)
def test_the_first_factors_of_a_clip_tell_its_width(stem: str, part: str) -> None:
    assert inspect({stem: [4, 1280]}).clip_widths == {part: 1280}


@pytest.mark.parametrize(
    "key",
    [
        "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight",
        "text_encoder.model.layers.0.self_attn.q_proj.lora_A.weight",
        "lora_te2_text_model_encoder_layers_0_mlp_fc2.lora_down.weight",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        f"{PEFT}.lora_A.weight",
    ],
)
def test_no_other_factors_are_taken_for_a_clips(key: str) -> None:
    assert inspect({key: [4, 768], "unet.conv_in.lora_A.weight": [4, 4, 3, 3]}).clip_widths == {}


CLIP_G = {"text_encoder_2": {"hidden_size": 1280}}


def test_a_second_clip_alone_fits_every_family_that_has_one_of_its_width() -> None:
    info = inspect({TE2: [4, 1280]})
    for facts in (SDXL, SD3):
        model = facts.signature({"cross_attention_dim": 2048})
        assert incompatibility(info, model) is None
        assert incompatibility(info, model, CLIP_G) is None
        other = incompatibility(info, model, {"text_encoder_2": {"hidden_size": 32}})
        assert other == "trains a text_encoder_2 of width 1280; that of the model has width 32"
    assert incompatibility(info, FLUX.signature({})) == (
        "trains a CLIP as text_encoder_2, which is a T5 in Flux.1"
    )
    assert incompatibility(info, unet(768)) == (
        "trains text_encoder_2, and only unet and text_encoder of Stable Diffusion 1 or 2 can be trained"
    )
    assert "only transformer" in str(incompatibility(info, QWEN_IMAGE.signature({})))


def test_the_first_clip_fits_by_its_width_too() -> None:
    info = inspect({TE1: [4, 768]})
    assert incompatibility(info, unet(768), {"text_encoder": {"hidden_size": 768}}) is None
    assert "of width 768" in str(incompatibility(info, unet(1024), {"text_encoder": {"hidden_size": 1024}}))
    assert incompatibility(info, unet(768), {"text_encoder": {}}) is None


def test_comfyuis_names_tell_their_parts() -> None:
    info = inspect(
        {
            "diffusion_model.out.2.diff": [4, 320, 3, 3],
            "text_encoders.clip_l.transformer.text_model.final_layer_norm.diff": [768],
            "text_encoders.clip_g.transformer.text_projection.diff_b": [1280],
        }
    )
    assert info.parts == ["text_encoder", "text_encoder_2", "unet"]


def test_a_part_that_only_another_family_has_is_called_by_its_name() -> None:
    key = "transformer.blocks.0.attn.to_k.lora_A.weight"
    with registered(replace(SD1, name="other", denoiser="transformer", lora_parts=("transformer",))):
        assert inspect({key: [4, 768], f"{PEFT}.lora_A.weight": [4, 768]}).parts == ["transformer", "unet"]


def test_embeddings_in_the_file_are_named_and_do_not_count() -> None:
    info = inspect(
        {
            TE1: [4, 768],
            "bundle_emb.my style.clip_l": [2, 768],
            "bundle_emb.my style.clip_g": [2, 1280],
            "bundle_emb.<a.b>.string_to_param.*": [2, 768],
            "bundle_emb.whole": [2, 768],
            **{f"bundle_emb.{i}.clip_l": [1, 768] for i in range(9)},
        }
    )
    assert info.embeddings == ("my style", "<a.b>", "whole", "0", "1")
    assert (info.parts, info.family, info.rank) == (["text_encoder"], None, 4)
    with pytest.raises(InvalidLora, match="no LoRA"):
        inspect({"bundle_emb.lora_style.clip_l": [2, 768]})


@pytest.mark.parametrize("dtype", ["I8", "U8", "I32", "BOOL", "C64", "F4", "F8_E8M0"])
def test_numbers_that_are_not_floating_point_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(InvalidLora, match=rf"no floating point numbers: {TE1} \({dtype}\)"):
        inspect({TE1: [4, 768]}, dtype)
    inspect({TE1: [4, 768]}, "F8_E5M2")


def test_the_alpha_of_a_module_may_be_a_whole_number() -> None:
    alpha = TE1.replace("lora_down.weight", "alpha")
    inspect_lora({TE1: TensorInfo("F16", (4, 768), (0, 0)), alpha: TensorInfo("I64", (), (0, 0))}, {})


class Width(int):
    """A number that counts how often it is compared."""

    compared = 0
    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        Width.compared += 1
        return int(self) == other


def test_the_work_is_linear_in_the_number_of_tensors() -> None:
    shapes = {f"{PEFT}.{i}.lora_A.weight": [4, Width(1000 + i)] for i in range(2000)}
    Width.compared = 0
    assert inspect(shapes).cross_attention_dim == 1000
    assert Width.compared <= 3 * len(shapes)


def test_other_threads_run_while_many_tensors_are_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[float] = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    inspect({f"{PEFT}.{i}.lora_A.weight": [4, 768] for i in range(2000)})
    assert len(sleeps) > 2000 // 128


def test_a_file_without_any_factor_is_no_lora() -> None:
    with pytest.raises(InvalidLora, match="no LoRA"):
        inspect({"unet.conv_in.weight": [320, 4, 3, 3]})


@pytest.mark.parametrize(
    ("info", "width", "fits"),
    [
        ({"cross_attention_dim": 768, "family": "sd1"}, 768, True),
        ({"cross_attention_dim": 2048, "family": "sdxl"}, 768, False),
        ({"cross_attention_dim": 96}, 96, True),
        ({"cross_attention_dim": 96}, 768, False),
        ({"family": "sdxl"}, 768, False),
        ({"family": "sd1"}, 768, True),
        ({"family": "sd1"}, 96, True),  # a base of no known family: the worker looks at every key
        ({}, 768, True),
    ],
)
def test_a_lora_is_refused_only_where_both_sides_are_known(
    info: dict[str, Any], width: int, fits: bool
) -> None:
    why = incompatibility(LoraInfo(tensors=2, rank=4, parts=["unet"], **info), unet(width))
    assert (why is None) == fits
    assert fits or str(width) in str(why)


@pytest.mark.parametrize(
    "start", [b"PK\x03\x04\x14\x00\x00\x00", b"\x80\x02\x8a\nl\xfc\x9cF", b"\x80\x02}q\x00X\x01\x00"]
)
def test_what_torch_save_writes_is_told_as_a_pickle(start: bytes) -> None:
    with pytest.raises(InvalidLora, match="pickle"):
        refuse_pickle(start)


@pytest.mark.parametrize("length", [0x280, 0x10280, MAX_HEADER_BYTES])
def test_no_length_of_a_header_is_taken_for_a_pickle(length: int) -> None:
    start = length.to_bytes(8, "little") + b"{"
    refuse_pickle(start)
    assert header_bytes(start, 8 + length) == length
