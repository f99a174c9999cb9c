from typing import Any

import pytest

from shared.errors import InvalidLora
from shared.lora_inspection import LoraInfo, inspect_lora, misfit, refuse_pickle
from shared.safetensors_header import MAX_HEADER_BYTES, TensorInfo, header_bytes

PEFT = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def inspect(shapes: dict[str, list[int]], **metadata: str) -> LoraInfo:
    tensors = {
        key: TensorInfo.model_construct(dtype="F32", shape=shape, data_offsets=(0, 0))
        for key, shape in shapes.items()
    }
    return inspect_lora(tensors, metadata)


@pytest.mark.parametrize(
    "shapes",
    [
        {f"{PEFT}.lora_A.weight": [4, 768], f"{PEFT}.lora_B.weight": [320, 4]},
        {f"{PEFT}_lora.down.weight": [4, 768], f"{PEFT}_lora.up.weight": [320, 4]},
        {"unet.mid.attn2.processor.to_k_lora.down.weight": [4, 768]},
        {f"{KOHYA}.lora_down.weight": [4, 768], f"{KOHYA}.alpha": []},
        {f"{KOHYA}.hada_w1_a": [320, 4], f"{KOHYA}.hada_w1_b": [4, 768], f"{KOHYA}.hada_w2_b": [4, 768]},
        {f"{KOHYA}.lokr_w1": [16, 8], f"{KOHYA}.lokr_w2_a": [20, 4], f"{KOHYA}.lokr_w2_b": [4, 96]},
    ],
    ids=["peft", "diffusers", "processor", "kohya", "loha", "lokr"],
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
        ({"modelspec.architecture": "flux-1-dev/lora"}, None),
        ({}, None),
    ],
)
def test_without_cross_attention_the_trainers_word_counts(metadata: dict[str, str], family: str) -> None:
    assert inspect({"unet.down.attn1.to_q.lora_A.weight": [4, 320]}, **metadata).family == family


def test_two_text_encoders_are_sdxl() -> None:
    info = inspect({"lora_te1_q.lora_down.weight": [4, 768], "lora_te2_q.lora_down.weight": [8, 1280]})
    assert (info.family, info.parts, info.rank) == ("sdxl", ["text_encoder", "text_encoder_2"], 8)


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
    why = misfit(LoraInfo(tensors=2, rank=4, parts=["unet"], **info), width)
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
