"""Transformer models as users have them: in shards, in one file, in eight bits, by older names."""

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.catalog.entries import LoadOptions, ModelEntry
from shared.errors import ModelFailed
from tests.original_names import PREFIX, PREFIXES, encoder_names, sd3_names, vae_names, z_image_names
from tests.tiny_transformers import (
    make_flux,
    make_qwen_image,
    make_qwen_image_controlnet,
    make_sd3,
    make_z_image,
)
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.load_base_model import load_entry, load_entry_text_encoder, load_model
from workers.families.load_controlnet import load_controlnet
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.model_checks.source import check_model_source
from workers.runtime.weights.hash_cache import HashCache
from workers.runtime.weights.source import estimate_bytes

MAKERS: dict[str, Callable[[], Any]] = {
    "flux": make_flux,
    "qwen-image": make_qwen_image,
    "sd3": make_sd3,
    "z-image": make_z_image,
}
ORIGINAL_NAMES = {"sd3": sd3_names, "z-image": z_image_names}
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module", params=MAKERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of a family, whose name is that of the folder."""
    path: Path = tmp_path_factory.mktemp("models") / request.param
    make(request.param).save_pretrained(path)
    return path


@functools.cache
def make(name: str) -> Any:
    """A pipeline that nobody changes."""
    return MAKERS[name]()


@pytest.fixture(scope="module")
def whole(folder: Path) -> BaseModel:
    """The model of the folder; nobody changes it."""
    return load(folder)


@pytest.fixture(scope="module")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, in shards."""
    path: Path = tmp_path_factory.mktemp("shards") / "m"
    make(folder.name).save_pretrained(path, max_shard_size="40KB")
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def load(path: Path, dtype: str = "float32", **options: Any) -> BaseModel:
    return load_model("m", str(path), dtype, "cpu", LoadOptions(**options))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelFailed, match=r"model 'm' .* cannot be loaded") as refused:
        load(path, **options)
    return str(refused.value)


def transformer(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / WEIGHTS)


# --- how it is stored makes no difference ----------------------------------------------------------------


def test_shards_are_loaded_as_one_file_is(shards: Path, whole: BaseModel) -> None:
    assert len(list((shards / "transformer").glob("*.safetensors"))) > 1
    assert load(shards).sha256 == whole.sha256


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_that_are_stored_in_fewer_bits_are_widened(copy: Path, stored: torch.dtype) -> None:
    for part in ("transformer", "text_encoder"):
        for file in (copy / part).glob("*.safetensors"):
            weights = {name: tensor.to(stored) for name, tensor in load_file(file).items()}
            save_file(weights, file, metadata={"format": "pt"})
    parts = load(copy).parts
    own = parts["transformer"].state_dict()
    assert all(torch.equal(own[name], tensor.float()) for name, tensor in transformer(copy).items())
    stored_text = load_file(next((copy / "text_encoder").glob("*.safetensors")))
    loaded = parts["text_encoder"].state_dict()
    shared = loaded.keys() & stored_text.keys()
    assert shared
    assert all(torch.equal(loaded[name], stored_text[name].float()) for name in shared)


@pytest.mark.parametrize("prefix", PREFIXES, ids=["prefix", "none"])
def test_a_single_file_is_loaded_beside_a_folder_with_the_other_parts(
    folder: Path, whole: BaseModel, tmp_path: Path, prefix: str
) -> None:
    weights = {prefix + name: tensor for name, tensor in transformer(folder).items()}
    save_file(weights, tmp_path / "own.safetensors")
    assert load(tmp_path / "own.safetensors", config=str(folder)).sha256 == whole.sha256


@pytest.mark.parametrize("prefix", PREFIXES, ids=["prefix", "none"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_a_single_file_by_its_authors_names_is_converted(
    folder: Path, tmp_path: Path, stored: torch.dtype, prefix: str
) -> None:
    """Flux.1's, which diffusers converts at its own width alone: see `tests.workers.families.flux`."""
    if folder.name not in ORIGINAL_NAMES:
        pytest.skip("diffusers converts none of a tiny one")
    weights = {name: tensor.to(stored) for name, tensor in transformer(folder).items()}
    save_file(ORIGINAL_NAMES[folder.name](weights, prefix), tmp_path / "original.safetensors")
    own = load(tmp_path / "original.safetensors", config=str(folder)).parts["transformer"].state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], tensor.float()) for name, tensor in weights.items())


@pytest.mark.parametrize("prefix", PREFIXES, ids=["prefix", "none"])
def test_a_norm_that_z_image_does_not_have_is_left_out_of_a_single_file(tmp_path: Path, prefix: str) -> None:
    # Files of fine-tunes hold it, and diffusers' conversion drops it
    make_z_image().save_pretrained(tmp_path / "m")
    weights = z_image_names(transformer(tmp_path / "m"), prefix)
    save_file({**weights, f"{prefix}norm_final.weight": torch.ones(8)}, tmp_path / "own.safetensors")
    loaded = load(tmp_path / "own.safetensors", config=str(tmp_path / "m"))
    assert loaded.sha256 == load(tmp_path / "m").sha256


def vae(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "vae/diffusion_pytorch_model.safetensors")


def test_the_vae_of_a_single_file_is_loaded_in_place_of_the_folders(
    copy: Path, whole: BaseModel, tmp_path: Path
) -> None:
    if copy.name == "qwen-image":
        pytest.skip("diffusers converts no VAE of Qwen-Image")
    # Given one file with the transformer and a VAE by its authors' names, and a folder with another VAE
    names = ORIGINAL_NAMES.get(copy.name, dict)
    file = tmp_path / "own.safetensors"
    save_file({**names(transformer(copy)), **vae_names(vae(copy))}, file)
    other = {name: tensor + 1 for name, tensor in vae(copy).items()}
    save_file(other, copy / "vae/diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    assert load(copy).sha256 != whole.sha256
    # When it is loaded, then all of it is the file's
    loaded = load(file, config=str(copy))
    assert loaded.sha256 == whole.sha256
    # And the folder needs none
    (copy / "vae/diffusion_pytorch_model.safetensors").unlink()
    assert load(file, config=str(copy)).sha256 == whole.sha256
    estimate = estimate_bytes(str(file), "float32", config=str(copy))
    assert abs(estimate - loaded.weight_bytes) < 0.01 * loaded.weight_bytes


def test_a_vae_in_a_single_file_that_is_not_whole_is_refused_by_a_weights_name(
    folder: Path, tmp_path: Path
) -> None:
    if folder.name == "qwen-image":
        pytest.skip("diffusers converts no VAE of Qwen-Image")
    own, file = vae_names(vae(folder)), tmp_path / "own.safetensors"
    save_file({**transformer(folder), **own, "first_stage_model.w": torch.ones(1)}, file)
    assert "holds 1 weights that a AutoencoderKL does not have" in refusal(file, config=str(folder))
    lost = "first_stage_model.decoder.conv_out.weight"
    save_file({**transformer(folder), **{name: w for name, w in own.items() if name != lost}}, file)
    assert "vae: it lacks 1 weights of its AutoencoderKL, such as decoder.conv_out.weight" in refusal(
        file, config=str(folder)
    )


#: What ComfyUI calls the text encoders that diffusers converts.
TEXT_ENCODERS = {
    "flux": {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"},
    "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"},
}


def held_encoders(folder: Path) -> dict[str, Tensor]:
    """The text encoders of a folder, as single files hold them."""
    held = {"text_encoders.clip_l.logit_scale": torch.ones(())}
    for part, name in TEXT_ENCODERS[folder.name].items():
        held |= encoder_names(load_file(folder / part / "model.safetensors"), name)
    return held


@pytest.mark.parametrize("has_t5", [True, False], ids=["t5", "clips"])
def test_the_text_encoders_of_a_single_file_are_loaded_in_place_of_the_folders(
    copy: Path, whole: BaseModel, tmp_path: Path, has_t5: bool
) -> None:
    if copy.name not in TEXT_ENCODERS:
        pytest.skip("diffusers converts none")
    names = ORIGINAL_NAMES.get(copy.name, dict)
    held = {name: w for name, w in held_encoders(copy).items() if has_t5 or "t5xxl" not in name}
    file = tmp_path / "own.safetensors"
    save_file({**names(transformer(copy)), **vae_names(vae(copy)), **held}, file)
    # Given a folder without what the file has; diffusers gives the first CLIP no projection of its own
    if copy.name == "sd3":
        first = copy / "text_encoder/model.safetensors"
        weights = load_file(first)
        weights["text_projection.weight"] = torch.eye(len(weights["text_projection.weight"]))
        save_file(weights, first, metadata={"format": "pt"})
        whole = load(copy)
    *clips, t5 = TEXT_ENCODERS[copy.name]
    for part in [*clips, *([t5] if has_t5 else [])]:
        (copy / part / "model.safetensors").unlink()
    (copy / "vae/diffusion_pytorch_model.safetensors").unlink()
    loaded = load(file, config=str(copy))
    assert loaded.sha256 == whole.sha256
    # And apart they are found and sized, too
    entry, catalog = ModelEntry(source=str(file), config=str(copy)), tmp_path / "catalog.toml"
    apart = load_entry("m", entry, catalog, "cpu", without_text_encoders=True)
    weights = {part: load_entry_text_encoder("m", part, entry, catalog, "cpu") for part in apart.apart}
    assert (apart.sha256, weights.keys()) == (whole.sha256, {*clips, t5})
    assert encode_alike(apart, weights, loaded)
    for model, without in ((loaded, None), (apart, "text_encoder")):
        estimate = estimate_bytes(str(file), "float32", config=str(copy), without=without)
        assert abs(estimate - model.weight_bytes) < 0.01 * model.weight_bytes


def test_parts_of_a_single_file_that_diffusers_does_not_convert_are_refused_at_start(
    folder: Path, tmp_path: Path
) -> None:
    others = [
        "text_encoders.llama.model.norm.weight",
        "cond_stage_model.model.w",
        "conditioner.embedders.0.w",
    ]
    if folder.name not in TEXT_ENCODERS:
        others += ["text_encoders.clip_l.transformer.text_model.w"]
    if folder.name == "qwen-image":
        others += ["vae.decoder.conv_in.bias", "first_stage_model.w"]
    for name in others:
        save_file({**transformer(folder), name: torch.ones(1)}, tmp_path / "own.safetensors")
        with pytest.raises(ModelFailed, match="save its transformer alone") as refused:
            check_model_source("m", tmp_path / "own.safetensors", LoadOptions(config=str(folder)))
        assert f"it holds {name}: no such part is read from a single file" in str(refused.value)


def test_a_text_encoder_of_a_single_file_that_is_not_whole_is_refused_by_a_weights_name(
    folder: Path, tmp_path: Path
) -> None:
    if folder.name not in TEXT_ENCODERS:
        pytest.skip("diffusers converts none")
    for part, name in TEXT_ENCODERS[folder.name].items():
        held = held_encoders(folder)
        of_part = sorted(own for own in held if f".{name}." in own and "layer_norm" in own)
        lost = held.pop(of_part[0])
        save_file({**transformer(folder), **held}, tmp_path / "own.safetensors")
        refused = refusal(tmp_path / "own.safetensors", config=str(folder))
        assert f"{part}: it lacks 1 weights of its {part}, such as " in refused
        held |= {of_part[0]: lost, f"text_encoders.{name}.transformer.what": torch.ones(1)}
        save_file({**transformer(folder), **held}, tmp_path / "own.safetensors")
        refused = refusal(tmp_path / "own.safetensors", config=str(folder))
        assert f"{part}: it holds 1 weights that its {part} has no place for" in refused


def test_a_text_encoder_of_a_single_file_that_the_folder_does_not_know_is_refused_at_start(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "sd3"
    make("sd3").save_pretrained(folder)
    save_file({**transformer(folder), **held_encoders(folder)}, tmp_path / "own.safetensors")
    _edit(folder / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    with pytest.raises(ModelFailed, match="it has a text_encoder_3, and its config folder"):
        check_model_source("m", tmp_path / "own.safetensors", LoadOptions(config=str(folder)))


def test_a_whole_model_in_a_single_file_needs_a_folder_with_its_tokenizers(tmp_path: Path) -> None:
    folder = tmp_path / "sd3"
    make("sd3").save_pretrained(folder)
    weights = {**sd3_names(transformer(folder)), **vae_names(vae(folder)), **held_encoders(folder)}
    save_file(weights, tmp_path / "own.safetensors")
    with pytest.raises(ModelFailed, match="config must name a folder with its configs and tokenizers"):
        check_model_source("m", tmp_path / "own.safetensors")


def test_folders_that_older_libraries_saved_are_loaded(copy: Path) -> None:
    # As they stand on the hub: fast tokenizers by their own names, and CLIP's weights below "text_model"
    index = json.loads((copy / "model_index.json").read_text())
    for part, kind in index.items():
        if isinstance(kind, list) and kind[1] and kind[1].endswith("Tokenizer"):
            kind[1] += "Fast"
            _edit(copy / part / "tokenizer_config.json", tokenizer_class=kind[1])
        if isinstance(kind, list) and kind[1] and kind[1].startswith("CLIPTextModel"):
            file = copy / part / "model.safetensors"
            save_file(_below_text_model(load_file(file)), file, metadata={"format": "pt"})
    (copy / "model_index.json").write_text(json.dumps(index))
    before = make(copy.name)
    model = load(copy)
    for part in model.facts.tokenizers:
        wanted, loaded = getattr(before, part).state_dict(), model.parts[part].state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.items())


def _below_text_model(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tops = ("text_model.", "text_projection.")
    return {name if name.startswith(tops) else f"text_model.{name}": t for name, t in weights.items()}


# --- what it will take is known before -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["folder", "shards", "eight bits", "single file"])
def test_the_memory_it_will_take_is_known_from_its_files(
    folder: Path, shards: Path, whole: BaseModel, tmp_path: Path, way: str
) -> None:
    loaded, source, config = whole.weight_bytes, folder, None
    if way == "shards":
        source = shards
    if way == "eight bits":
        source = Path(shutil.copytree(folder, tmp_path / "m"))
        weights = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in transformer(folder).items()}
        save_file(weights, source / WEIGHTS, metadata={"format": "pt"})
    if way == "single file":
        source, config = tmp_path / "own.safetensors", str(folder)
        save_file(transformer(folder), source)
    estimate = estimate_bytes(str(source), "float32", config=config)
    assert abs(estimate - loaded) < 0.01 * loaded
    assert estimate_bytes(str(source), "bfloat16", config=config) == estimate // 2


def encode_alike(apart: BaseModel, weights: Mapping[str, TextEncoderWeights], whole: BaseModel) -> bool:
    """Whether a model without its text encoders encodes with these weights as a whole one does."""
    job = spec(scheduler="flow_match_euler", negative_prompt="a house", guidance_scale=3.0)
    with apart.with_text_encoders(weights):
        encoded = apart.encode_texts(job)
    own = whole.encode_texts(job)
    return own.keys() == encoded.keys() and all(torch.equal(encoded[name], own[name]) for name in own)


def test_text_encoders_that_are_loaded_apart_encode_the_same_bits(folder: Path, whole: BaseModel) -> None:
    entry, catalog = ModelEntry(source=str(folder)), folder.parent / "catalog.toml"
    apart = load_entry("m", entry, catalog, "cpu", without_text_encoders=True)
    weights = {part: load_entry_text_encoder("m", part, entry, catalog, "cpu") for part in apart.apart}
    assert apart.sha256 == whole.sha256
    assert {part: one.sha256 for part, one in weights.items()} == {
        part: one.sha256 for part, one in apart.apart.items()
    }
    assert apart.weight_bytes + apart.apart_bytes == whole.weight_bytes
    estimate = estimate_bytes(str(folder), "float32", without="text_encoder")
    assert abs(estimate - apart.weight_bytes) < 0.01 * apart.weight_bytes
    assert encode_alike(apart, weights, whole)


def test_text_encoders_are_read_with_a_model_only_until_their_hashes_are_known(
    folder: Path, tmp_path: Path
) -> None:
    dtype = ("float32", "float16")[[*MAKERS].index(folder.name) % 2]  # in turn
    # Given a model that is loaded twice without its text encoders
    entry, catalog = ModelEntry(source=str(folder), dtype=dtype), folder.parent / "catalog.toml"
    hashes, reads = HashCache(tmp_path), []

    def load_apart() -> BaseModel:
        own = {"without_text_encoders": True, "make_room": lambda: reads.append(dtype)}
        return load_entry("m", entry, catalog, "cpu", hashes, **own)

    first, again = load_apart(), load_apart()
    # Then the second one knows of them what the first one has read
    assert len(reads) == 1
    assert (again.sha256, again.apart) == (first.sha256, first.apart)
    assert again.weight_bytes == first.weight_bytes
    # And encodes what a whole one does
    whole = load_entry("m", entry, catalog, "cpu", hashes)
    assert again.text_encoders_sha256 == whole.text_encoders_sha256
    weights = {
        part: load_entry_text_encoder("m", part, entry, catalog, "cpu", hashes) for part in again.apart
    }
    assert encode_alike(again, weights, whole)


# --- what is refused, by name ----------------------------------------------------------------------------


def test_a_single_file_needs_a_folder_with_the_other_parts(folder: Path, tmp_path: Path) -> None:
    save_file(transformer(folder), tmp_path / "own.safetensors")
    assert "its catalog key config must name a folder with" in refusal(tmp_path / "own.safetensors")


def test_a_single_file_does_not_go_with_a_folder_of_another_family(folder: Path, tmp_path: Path) -> None:
    save_file(transformer(folder), tmp_path / "own.safetensors")
    other = "flux" if folder.name != "flux" else "qwen-image"
    make(other).save_pretrained(tmp_path / other)
    text = refusal(tmp_path / "own.safetensors", config=str(tmp_path / other))
    assert "describes another family" in text


def test_a_single_file_with_too_much_or_too_little_is_refused_by_a_weights_name(
    folder: Path, tmp_path: Path
) -> None:
    weights, file = transformer(folder), tmp_path / "own.safetensors"
    names = sorted(name for name in weights if name.endswith(".weight"))
    save_file({**weights, "first_stage_model.w": torch.ones(1)}, file)
    assert "first_stage_model.w" in refusal(file, config=str(folder))
    lost = next(name for name in names if ".1." in name)
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, file)
    assert lost in refusal(file, config=str(folder))
    save_file({**weights, PREFIX + names[0]: weights[names[0]].clone()}, file)
    assert f"it holds the weight {names[0]} twice" in refusal(file, config=str(folder))
    scaled = {f"{name.removesuffix('.weight')}.scale_weight": torch.ones(()) for name in names[:2]}
    save_file({**weights, **scaled}, file)
    assert "scale_weight" in refusal(file, config=str(folder))


def test_quantized_weights_are_refused_by_name(copy: Path) -> None:
    _edit(copy / "transformer/config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert "transformer is quantized (bitsandbytes): that is not served" in refusal(copy)


def test_weights_of_integers_are_refused_by_name(copy: Path) -> None:
    weights = transformer(copy)
    name = next(name for name in sorted(weights) if name.endswith(".weight"))
    weights[name] = weights[name].to(torch.int8)
    save_file(weights, copy / WEIGHTS, metadata={"format": "pt"})
    assert f"transformer has weights of I8, such as {name}: that is not served" in refusal(copy)


def test_a_missing_tokenizer_is_refused_by_name(copy: Path) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    for part in sorted(name for name in index if name.startswith("tokenizer") and index[name][1]):
        moved = (copy / part).rename(copy / "away")
        assert f"it has no folder {part}" in refusal(copy)
        (copy / part).mkdir()
        assert part in refusal(copy)
        (copy / part).rmdir()
        moved.rename(copy / part)


def test_a_controlnet_in_a_single_file_is_refused_where_diffusers_converts_none(tmp_path: Path) -> None:
    make_qwen_image().save_pretrained(tmp_path / "m")
    make_qwen_image_controlnet().save_pretrained(tmp_path / "n")
    file = shutil.copy(tmp_path / "n/diffusion_pytorch_model.safetensors", tmp_path / "n.safetensors")

    for config in (None, str(tmp_path / "n")):
        with pytest.raises(ModelFailed, match=r"ControlNet 'n' .* cannot be loaded") as refused:
            load_controlnet("n", str(file), "float32", "cpu", base=str(tmp_path / "m"), config=config)
        why = "diffusers reads no QwenImageControlNetModel from a single file: save it as a folder"
        assert why in str(refused.value)


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
