import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES

from shared.catalog.catalog import read_catalog
from shared.catalog.entries import ControlNetEntry, LoadOptions
from shared.errors import ModelFailed
from shared.families.flux import FLUX
from shared.families.sd3 import SD3
from tests.tiny_transformers import make_sd3
from workers.model_checks.source import (
    check_controlnet_entry,
    check_controlnet_source,
    check_model_entry,
    check_model_source,
)

EMOJI = Path("infra/emoji")
UNET, ENCODER = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
CONTROLNET = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the embedded model, to be broken."""
    return Path(shutil.copytree(EMOJI / "model", tmp_path / "model"))


@pytest.fixture
def controlnet(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMOJI / "controlnets" / "edge", tmp_path / "controlnet"))


def checkpoint(path: Path, *names: str) -> Path:
    """A safetensors file with an empty row under each name."""
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))
    return path


def refusal(check: Callable[..., None], path: Path, *options: Any) -> str:
    with pytest.raises(ModelFailed) as caught:
        check("m", path, *options)
    message = str(caught.value)
    assert "'m'" in message
    assert str(path) in message
    assert "cannot be loaded: " in message
    assert "\n" not in message
    return message.partition("cannot be loaded: ")[2]


def test_every_source_of_the_embedded_catalog_passes() -> None:
    path = Path("infra/catalog.toml")
    catalog = read_catalog(path)
    for name, entry in catalog.models.items():
        check_model_entry(name, entry, path)
    for name, controlnet in catalog.controlnets.items():
        check_controlnet_entry(name, controlnet, path)


def test_a_hub_id_is_not_checked_here() -> None:
    catalog = read_catalog(Path("infra/catalog.toml"))
    entry = next(iter(catalog.models.values())).model_copy(update={"source": "hub:org/name@v1"})
    check_model_entry("m", entry, Path("infra/catalog.toml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer"),
        (b"PK\x03\x04" + bytes(100), "pickled"),
        (b"\x80\x02}q\x00.", "pickled"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\xff" * 100, "not a safetensors file"),
    ],
)
@pytest.mark.parametrize("file", [UNET, ENCODER])
def test_a_weight_file_with_other_content_is_refused_by_its_name(
    model: Path, file: str, content: bytes, message: str
) -> None:
    (model / file).write_bytes(content)
    assert message in refusal(check_model_source, model)
    assert file in refusal(check_model_source, model)


@pytest.mark.parametrize("file", [UNET, ENCODER, "vae/diffusion_pytorch_model.safetensors"])
def test_a_truncated_weight_file_is_refused_by_its_name(model: Path, file: str) -> None:
    whole = (model / file).read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2, 100):
        (model / file).write_bytes(whole[:kept])
        assert file in refusal(check_model_source, model)


@pytest.mark.parametrize(
    "name",
    [
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "model_index.json",
    ],
)
@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_config_that_is_not_a_json_object_is_refused_by_its_name(model: Path, name: str, text: str) -> None:
    (model / name).write_text(text)
    assert name in refusal(check_model_source, model)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_refused_by_its_name(model: Path, part: str) -> None:
    shutil.rmtree(model / part)
    assert part in refusal(check_model_source, model)


def test_weights_in_another_variant_or_format_only_are_refused_by_name(model: Path) -> None:
    (model / UNET).rename(model / "unet/diffusion_pytorch_model.fp16.safetensors")
    message = refusal(check_model_source, model)
    assert "unet" in message
    assert "fp16" in message
    check_model_source("m", model, LoadOptions(variant="fp16"))
    (model / "unet/diffusion_pytorch_model.fp16.safetensors").rename(
        model / "unet/diffusion_pytorch_model.bin"
    )
    assert "unet has only pickled weights" in refusal(check_model_source, model)


def test_a_variant_that_no_part_has_is_refused_by_its_name(model: Path) -> None:
    assert "'bf16'" in refusal(check_model_source, model, LoadOptions(variant="bf16"))


def test_every_shard_is_checked(model: Path) -> None:
    shard = "diffusion_pytorch_model-00001-of-00002.safetensors"
    (model / UNET).rename(model / "unet" / shard)
    index = {"weight_map": {"a": shard, "b": shard.replace("00001", "00002")}}
    (model / f"{UNET}.index.json").write_text(json.dumps(index))
    assert "00002-of-00002.safetensors is missing" in refusal(check_model_source, model)
    shutil.copy(model / "unet" / shard, model / "unet" / shard.replace("00001", "00002"))
    check_model_source("m", model)


def test_a_dangling_link_is_refused_by_its_name(model: Path) -> None:
    (model / UNET).unlink()
    (model / UNET).symlink_to(model / "gone")
    assert f"{UNET} is missing" in refusal(check_model_source, model)


def test_an_os_error_becomes_a_sentence(tmp_path: Path) -> None:
    for check in (check_model_source, check_controlnet_source):
        assert "File name too long" in refusal(check, tmp_path / ("x" * 300))


def _without_tokens(model: Path) -> None:
    for file in (model / "tokenizer").iterdir():
        file.unlink()


def _from_vocabulary(model: Path) -> None:
    """Leave what most models have: vocabulary and merges in files of their own."""
    (model / "tokenizer" / "tokenizer.json").unlink()


def _cut_merges(model: Path) -> None:
    _from_vocabulary(model)
    path = model / "tokenizer/merges.txt"
    path.write_text("\n".join(path.read_text().split("\n")[:-50]))


def _cut_vocabulary(model: Path) -> None:
    _from_vocabulary(model)
    path = model / "tokenizer/vocab.json"
    tokens = json.loads(path.read_text())
    del tokens["a"]
    path.write_text(json.dumps(tokens))


def _no_merges(model: Path) -> None:
    _from_vocabulary(model)
    (model / "tokenizer/merges.txt").unlink()


def _of_another_encoder(model: Path) -> None:
    path = model / "text_encoder/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 49408}))


def _cut_merges_of_the_whole(model: Path) -> None:
    path = model / "tokenizer/tokenizer.json"
    whole = json.loads(path.read_text())
    del whole["model"]["merges"][-50:]
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    "spoil",
    [
        _without_tokens,
        _cut_merges,
        _cut_vocabulary,
        _no_merges,
        _of_another_encoder,
        _cut_merges_of_the_whole,
    ],
)
def test_a_tokenizer_that_does_not_fit_its_text_encoder_is_refused_by_name(
    model: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(model)
    assert "tokenizer" in refusal(check_model_source, model)


@pytest.mark.parametrize(
    "changes",
    [
        {"added_tokens": None},
        {"added_tokens": [{}]},
        {"added_tokens": ["<cat>"]},
        {"model": {"vocab": {"a": 0}, "merges": [1]}},
        {"model": {"vocab": {"a": [0]}, "merges": []}},
        {"model": {"vocab": ["a"]}},
    ],
    ids=str,
)
def test_a_malformed_tokenizer_is_refused_by_its_name(model: Path, changes: dict[str, Any]) -> None:
    path = model / "tokenizer/tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert "tokenizer" in refusal(check_model_source, model)


@pytest.mark.parametrize("shard", [[1], 1, None], ids=str)
def test_a_malformed_index_of_shards_is_refused_by_its_name(model: Path, shard: object) -> None:
    (model / UNET).unlink()
    (model / f"{UNET}.index.json").write_text(json.dumps({"weight_map": {"a": "x", "b": shard}}))
    assert "index.json lists no files" in refusal(check_model_source, model)


def test_a_tokenizer_in_either_file_format_passes(model: Path) -> None:
    _from_vocabulary(model)
    check_model_source("m", model)
    (model / "tokenizer/added_tokens.json").write_text('{"<cat>": 1815}')
    assert "1816 tokens" in refusal(check_model_source, model)


def test_both_tokenizers_of_sdxl_are_checked(model: Path) -> None:
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionXLPipeline"}))
    assert "text_encoder_2" in refusal(check_model_source, model)
    shutil.copytree(model / "text_encoder", model / "text_encoder_2")
    (model / "tokenizer_2").mkdir()
    assert "tokenizer_2" in refusal(check_model_source, model)
    shutil.rmtree(model / "tokenizer_2")
    shutil.copytree(model / "tokenizer", model / "tokenizer_2")
    check_model_source("m", model)


SD1 = ("model.diffusion_model.a", "first_stage_model.a", "cond_stage_model.a")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (SD1[:1] + SD1[2:], "no VAE"),
        (SD1[:2], "no text encoder"),
        (SD1[:1], "no VAE and no text encoder"),
        (("unet.a.lora_A.weight",), "a LoRA"),
        (("lora_unet_a.lora_down.weight",), "a LoRA"),
        (("control_model.a",), "a ControlNet"),
        (("controlnet_cond_embedding.conv_in.weight",), "a ControlNet"),
        (("double_blocks.0.img_attn.qkv.weight",), "an incomplete Flux.1"),
        (("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", *SD1[1:]), "an incomplete Flux.1"),
        (("model.diffusion_model.joint_blocks.0.a", *SD1[1:]), "an incomplete Stable Diffusion 3"),
        (("a",), "something unknown"),
        ((*SD1[:2], "conditioner.embedders.0.model.a"), "refiners are not served"),
    ],
)
def test_a_single_file_that_is_not_a_complete_base_model_is_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    assert message in refusal(check_model_source, checkpoint(tmp_path / "m.safetensors", *names))


@pytest.mark.parametrize(
    ("kind", "named"),
    [("flux2", "a Flux.2"), ("flux3", "a Flux.3"), ("chroma", "a Chroma")],
)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_of_a_family_like_one_that_is_served_is_refused_by_its_name(
    tmp_path: Path, kind: str, named: str, prefix: str
) -> None:
    flux = (*FLUX.original_name_substrings, "double_blocks.0.img_attn.qkv.weight")
    (own,) = (name for name in CHECKPOINT_KEY_NAMES[kind] if name.startswith("model.") == bool(prefix))
    names = (own, *(prefix + name for name in flux))
    message = refusal(check_model_source, checkpoint(tmp_path / "m.safetensors", *names))
    assert message == f"it is {named}, not a base model that is served"


@pytest.mark.parametrize(
    ("named", "make"),
    [
        ("a Sana", lambda: diffusers.SanaTransformer2DModel(num_layers=2)),
        ("a HunyuanDiT", lambda: diffusers.HunyuanDiT2DModel(in_channels=4, patch_size=2, num_layers=2)),
    ],
)
def test_a_single_file_of_another_family_is_refused_by_its_name(
    tmp_path: Path, named: str, make: Callable[[], torch.nn.Module]
) -> None:
    with torch.device("meta"):
        names = list(make().state_dict())
    message = refusal(check_model_source, checkpoint(tmp_path / "m.safetensors", *names))
    assert message == f"it is {named}, not a base model that is served"


def test_an_original_sana_is_refused_by_its_name(tmp_path: Path) -> None:
    # Names that diffusers converts
    names = "y_embedder.y_embedding", "attention_y_norm.weight", *CHECKPOINT_KEY_NAMES["sana"]
    message = refusal(check_model_source, checkpoint(tmp_path / "m.safetensors", *names))
    assert message == "it is a Sana, not a base model that is served"


def test_a_single_file_passes_only_with_configs_of_its_family(model: Path, tmp_path: Path) -> None:
    options = LoadOptions(config=str(model))
    check_model_source("m", checkpoint(tmp_path / "m.safetensors", *SD1), options)
    sdxl = checkpoint(
        tmp_path / "xl.safetensors", *SD1[:2], "conditioner.embedders.0.a", "conditioner.embedders.1.a"
    )
    check_model_source("m", sdxl)
    assert "another family" in refusal(check_model_source, sdxl, options)
    _no_merges(model)
    assert "merges" in refusal(check_model_source, tmp_path / "m.safetensors", options)


def test_a_single_file_with_all_parts_needs_no_weights_of_its_config_folder(tmp_path: Path) -> None:
    make_sd3().save_pretrained(tmp_path / "config")
    options = LoadOptions(config=str(tmp_path / "config"), variant="fp16")
    encoders = [f"{prefix}a" for prefix in SD3.file_text_encoders.values()]
    transformer = [f"model.diffusion_model.{name}a" for name in SD3.original_name_substrings]
    parts = [*transformer, "first_stage_model.decoder.a"]
    check_model_source("m", checkpoint(tmp_path / "m.safetensors", *parts, *encoders), options)
    # A part that the file lacks is read from the folder
    without_t5 = checkpoint(tmp_path / "n.safetensors", *parts, *encoders[:2])
    assert "no part of it has files of variant 'fp16'" in refusal(check_model_source, without_t5, options)


@pytest.mark.parametrize("name", ["m.ckpt", "m.bin", "m.gguf"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    for check in (check_model_source, check_controlnet_source):
        assert "pickled files are not read" in refusal(check, tmp_path / name)


def test_a_source_of_another_kind_is_refused_by_what_it_is(
    model: Path, controlnet: Path, tmp_path: Path
) -> None:
    assert "it is a ControlNetModel, not a base model" in refusal(check_model_source, controlnet)
    assert "it is a UNet2DConditionModel" in refusal(check_model_source, model / "unet")
    assert "it is a base model" in refusal(check_controlnet_source, model)
    assert "it is a UNet2DConditionModel" in refusal(check_controlnet_source, model / "unet")
    checkpoint(tmp_path / "pytorch_lora_weights.safetensors", "a")
    for check in (check_model_source, check_controlnet_source):
        assert "it is a LoRA" in refusal(check, tmp_path)
        lora = EMOJI / "loras/twemoji.safetensors"
        assert "it is a LoRA" in refusal(check, lora)
    assert "it is a base model" in refusal(
        check_controlnet_source, checkpoint(tmp_path / "m.safetensors", *SD1)
    )


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("SD3", {"extra_conditioning_channels": 2}, "it takes 2 channels beside an image's"),
        (
            "SD3",
            {"extra_conditioning_channels": 1, "joint_attention_dim": None},
            "it inpaints, and takes no texts",
        ),
        ("SD3", {"extra_conditioning_channels": 1, "use_pos_embed": False}, "has no pos_embed"),
        ("QwenImage", {"extra_condition_channels": 1}, "diffusers gives it 4, of the mask"),
    ],
)
def test_a_controlnet_that_diffusers_cannot_inpaint_with_is_refused(
    controlnet: Path, kind: str, options: dict[str, Any], why: str
) -> None:
    config = {"_class_name": f"{kind}ControlNetModel", **options}
    (controlnet / "config.json").write_text(json.dumps(config))
    entry = ControlNetEntry(source=controlnet.name, model="m")
    with pytest.raises(ModelFailed, match=why):
        check_controlnet_entry("m", entry, controlnet.parent / "catalog.toml")


def test_the_files_of_a_controlnet_are_checked(controlnet: Path, tmp_path: Path) -> None:
    check_controlnet_source("m", controlnet)
    check_controlnet_source(
        "m", checkpoint(tmp_path / "n.safetensors", "control_model.input_hint_block.0.weight")
    )
    whole = (controlnet / CONTROLNET).read_bytes()
    (controlnet / CONTROLNET).write_bytes(whole[:-1])
    assert CONTROLNET in refusal(check_controlnet_source, controlnet)
    (controlnet / CONTROLNET).unlink()
    assert "has no weights" in refusal(check_controlnet_source, controlnet)
    (controlnet / "config.json").write_text('{"_class_name": "SanaControlNetModel"}')
    assert "a SanaControlNetModel" in refusal(check_controlnet_source, controlnet)
    (controlnet / "config.json").unlink()
    assert "config.json" in refusal(check_controlnet_source, controlnet)
