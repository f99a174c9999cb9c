import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.catalog.entries import LoadOptions, ModelEntry
from shared.errors import ModelFailed
from shared.families.unet import SD1, SDXL
from tests.checkpoints import save_checkpoint
from tests.tiny_models import make_pipeline
from workers.families.load_base_model import load_entry, load_model
from workers.runtime.weights.hash_cache import HashCache
from workers.runtime.weights.loaded import weights_sha256, weights_sha256s


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``sd1`` and ``sdxl`` as folders, and ``sd1`` as one file and as an fp16 variant."""
    path = tmp_path_factory.mktemp("models")
    pipe = make_pipeline("sd1")
    pipe.save_pretrained(path / "sd1")
    pipe.save_pretrained(path / "variant", variant="fp16")
    save_checkpoint(pipe, path / "sd1.safetensors")
    make_pipeline("sdxl").save_pretrained(path / "sdxl")
    return path


def load(source: Path, **options: Any) -> Any:
    return load_model("m", str(source), "float32", "cpu", LoadOptions(**options))


def test_a_folder_a_single_file_and_a_variant_hold_the_same_weights(folder: Path) -> None:
    plain = load(folder / "sd1").sha256
    assert load(folder / "variant", variant="fp16").sha256 == plain
    entry = ModelEntry(source="sd1.safetensors", config="sd1")
    assert load_entry("m", entry, folder / "catalog.toml", "cpu").sha256 == plain


def test_a_model_is_of_the_family_that_its_own_files_say(folder: Path) -> None:
    assert load(folder / "sd1").facts is SD1
    model = load(folder / "sdxl")
    assert model.facts is SDXL
    assert set(model.text_encoders) == {"text_encoder", "text_encoder_2"}


def test_only_sdxls_vae_is_kept_in_single_precision_as_diffusers_decodes_with_it(folder: Path) -> None:
    for name, kept in (("sd1", torch.float16), ("sdxl", torch.float32)):
        model = load_model("m", str(folder / name), "float16", "cpu")
        assert (model.pipe.unet.dtype, model.pipe.vae.dtype) == (torch.float16, kept)


@pytest.mark.parametrize("kept", ["float16", "bfloat16", "float32"])
def test_the_catalog_says_what_the_vae_computes_in(folder: Path, kept: Any) -> None:
    for name in ("sd1", "sdxl"):
        options = LoadOptions(vae_dtype=kept)
        model = load_model("m", str(folder / name), "float16", "cpu", options)
        assert (model.dtype, model.vae_dtype) == (torch.float16, getattr(torch, kept))


def test_weights_of_convolutions_lie_as_the_catalog_says(folder: Path) -> None:
    plain = load(folder / "sdxl")
    model = load(folder / "sdxl", memory_format="channels_last")
    assert (plain.memory_format, model.memory_format) == ("contiguous", "channels_last")
    for layer in (model.unet.conv_in, model.pipe.vae.encoder.conv_in):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
        assert not layer.weight.is_contiguous()
    assert plain.unet.conv_in.weight.is_contiguous()
    assert model.sha256 == plain.sha256  # the same weights


def test_switches_are_turned_and_told_for_the_receipt(folder: Path) -> None:
    model = load(folder / "sd1", attention_slicing="max", vae_tiling=True)
    assert model.switches == {"attention_slicing": "max", "vae_tiling": True}
    assert model.pipe.vae.use_tiling
    assert not model.pipe.vae.use_slicing
    kinds = {type(processor).__name__ for processor in model.pipe.unet.attn_processors.values()}
    assert kinds == {"SlicedAttnProcessor"}


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_weights_are_hashed_before_they_move_to_the_device(folder: Path, name: str) -> None:
    # On "meta" no weight can be read any more
    on_device = load_model("m", str(folder / name), "float16", "meta")
    on_host = load_model("m", str(folder / name), "float16", "cpu")
    assert on_device.device.type == "meta"
    assert on_device.sha256 == on_host.sha256 == weights_sha256(on_host.parts)
    assert on_device.text_encoders_sha256 == on_host.text_encoders_sha256


@pytest.mark.parametrize("source", ["sd1", "sd1.safetensors", "hub"])
def test_weights_that_were_hashed_once_are_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    read: list[str] = []

    def hash_groups(groups: Sequence[Mapping[str, nn.Module]]) -> list[str]:
        found = weights_sha256s(groups)
        read.extend(found)
        return found

    hashes = HashCache(tmp_path / "hashes", hash_groups)
    entry = ModelEntry(source=source)
    if source == "hub":
        make_hub(folder, tmp_path, monkeypatch)
        entry = ModelEntry(source="hub:org/name")
    elif source.endswith(".safetensors"):
        entry = ModelEntry(source=source, config="sd1")
    found = {load_entry("m", entry, folder / "catalog.toml", "cpu", hashes).sha256 for _ in range(2)}
    assert found == {load(folder / "sd1").sha256}
    assert len(read) == 2  # all weights, and those of the text encoders


def test_a_variant_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ModelFailed, match=r"'m'.*bf16"):
        load(folder / "sd1", variant="bf16")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"'m'.*not a diffusers folder: it has no model_index\.json"):
        load(tmp_path)


def test_a_model_of_another_kind_is_refused_by_its_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxKontextPipeline"}))
    with pytest.raises(ModelFailed, match=r"'m'.*is a FluxKontext: that family is not served"):
        load(tmp_path)


def test_a_refiner_is_refused(tmp_path: Path) -> None:
    pipe = make_pipeline("sdxl")
    pipe.register_modules(text_encoder=None, tokenizer=None)
    pipe.save_pretrained(tmp_path)
    with pytest.raises(ModelFailed, match="refiners are not served"):
        load(tmp_path)


def test_a_file_that_is_cut_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes((folder / "sd1.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelFailed, match=r"cut\.safetensors"):
        load(path, config=str(folder / "sd1"))


def copied(folder: Path, name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / name, tmp_path / name))


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_part_that_lacks_a_weight_is_refused_and_not_made_up(
    folder: Path, tmp_path: Path, part: str
) -> None:
    model = copied(folder, "sdxl", tmp_path)
    rewrite(model / part / WEIGHTS[part], lambda tensors: tensors.pop(sorted(tensors)[0]))
    with pytest.raises(ModelFailed, match=rf"'m'.*cannot be loaded: {part} lacks 1 of its weights, such as "):
        load(model)


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_part_whose_weight_has_another_shape_is_refused(folder: Path, tmp_path: Path, part: str) -> None:
    model = copied(folder, "sdxl", tmp_path)
    rewrite(
        model / part / WEIGHTS[part],
        lambda tensors: tensors.update({sorted(tensors)[0]: torch.zeros(3, 5)}),
    )
    with pytest.raises(ModelFailed, match=r"'m'.*cannot be loaded"):
        load(model)


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_checkpoint_with_a_number_that_is_none_is_refused_naming_it(
    folder: Path, tmp_path: Path, part: str, value: float
) -> None:
    model = copied(folder, "sdxl", tmp_path)
    rewrite(
        model / part / WEIGHTS[part], lambda tensors: tensors[sorted(tensors)[0]].view(-1)[:1].fill_(value)
    )
    with pytest.raises(ModelFailed, match=rf"'m'.*cannot be loaded: {part}\..* holds a NaN or an infinity"):
        load(model)


def test_weights_that_the_dtype_cannot_hold_are_refused(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, "sd1", tmp_path)
    rewrite(model / "unet" / WEIGHTS["unet"], lambda tensors: tensors["conv_in.bias"][:1].fill_(1e6))
    assert load(model)
    with pytest.raises(ModelFailed, match=r"unet\.conv_in\.bias holds a NaN or an infinity"):
        load_model("m", str(model), "float16", "cpu")


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
def test_a_folder_without_its_tokenizers_files_is_refused(folder: Path, tmp_path: Path, part: str) -> None:
    model = copied(folder, "sdxl", tmp_path)
    for file in (model / part).iterdir():
        file.unlink()
    with pytest.raises(ModelFailed, match=rf"'m'.*cannot be loaded: it has no {part}/vocab\.json"):
        load(model)


def test_a_single_file_that_lacks_a_weight_or_a_part_is_refused(folder: Path, tmp_path: Path) -> None:
    for name, told in (
        ("model.diffusion_model.out.2.bias", "unet lacks some of its weights"),
        ("first_stage_model.", "it has no VAE"),
        ("cond_stage_model.", "it has no text encoder"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "text_encoder lacks "),
        ("first_stage_model.decoder.conv_out.bias", "vae lacks some of its weights"),
    ):
        path = tmp_path / "m.safetensors"
        tensors = load_file(folder / "sd1.safetensors")
        save_file({key: tensor for key, tensor in tensors.items() if not key.startswith(name)}, path)
        with pytest.raises(ModelFailed, match=told):
            load(path, config=str(folder / "sd1"))


def test_a_pickle_is_never_read(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, "sd1", tmp_path)
    (model / "vae" / WEIGHTS["vae"]).rename(model / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelFailed, match="vae has only pickled weights, which are not read"):
        load(model)


def test_a_hub_id_may_name_a_revision(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_hub(folder, tmp_path, monkeypatch)
    path = tmp_path / "catalog.toml"
    loaded = {
        source: load_entry("m", ModelEntry(source=source), path, "cpu").sha256
        for source in ("hub:org/name", "hub:org/name@main", "hub:org/name@v1", f"hub:org/name@{'b' * 40}")
    }
    main, also_main, v1, also_v1 = loaded.values()
    assert main == also_main == load(folder / "sd1").sha256
    assert v1 == also_v1 != main
    with pytest.raises(ModelFailed, match=r"'m' .*gone"):
        load_entry("m", ModelEntry(source="hub:org/name@gone"), path, "cpu")


def make_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache on disk, as it is without a network, with two revisions of ``org/name``."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--org--name"
    for name, commit, change in (("main", "a" * 40, 0.0), ("v1", "b" * 40, 1.0)):
        snapshot = cache / "snapshots" / commit
        shutil.copytree(folder / "sd1", snapshot)
        rewrite(
            snapshot / "unet" / WEIGHTS["unet"], lambda tensors, by=change: tensors["conv_in.bias"].add_(by)
        )
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / name).write_text(commit)


@pytest.mark.parametrize("change", [{"block_out_channels": "many"}, {"in_channels": None}])
def test_a_config_that_makes_a_library_stumble_fails_the_model_by_name(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    model = copied(folder, "sd1", tmp_path)
    path = model / "unet/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFailed, match=r"'m'.*cannot be loaded: "):
        load(model)


@pytest.mark.parametrize(
    ("file", "changes", "part"),
    [
        ("unet/config.json", {"in_channels": 9}, "unet: .*conv_in"),
        ("vae/config.json", {"latent_channels": 8}, "vae: .*decoder"),
        ("text_encoder/config.json", {"hidden_size": 64}, "text_encoder lacks .*embeddings"),
        ("scheduler/scheduler_config.json", {"beta_start": "x"}, "scheduler: "),
        ("scheduler/scheduler_config.json", {"beta_schedule": "nope"}, "scheduler: .*nope"),
        ("model_index.json", {"scheduler": ["diffusers", "NoScheduler"]}, "scheduler: .*NoScheduler"),
    ],
)
def test_a_part_that_its_library_cannot_load_is_named(
    folder: Path, tmp_path: Path, file: str, changes: dict[str, Any], part: str
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder / "sd1", copied)
    config = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps({**config, **changes}))
    with pytest.raises(ModelFailed, match=f"model 'm' .* cannot be loaded: {part}"):
        load(copied)
