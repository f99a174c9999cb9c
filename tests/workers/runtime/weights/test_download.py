"""Models and ControlNets by hub ids: what they take is known once they are in the hub's cache."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache
from safetensors.torch import save_file

from shared.catalog.catalog import read_catalog
from shared.catalog.entries import ModelEntry
from shared.errors import ModelFailed, Unavailable
from shared.settings import Settings
from tests.tiny_models import EMOJI
from tests.tiny_transformers import make_z_image, make_z_image_controlnet
from workers.families.load_base_model import download_entry
from workers.families.load_controlnet import controlnet_cache
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.weights.controlnet_bytes import ControlNetBytes
from workers.runtime.weights.download import download_controlnet, download_layers
from workers.runtime.weights.source import (
    INDEX,
    estimate_bytes,
    estimate_layer_bytes,
    indexed_files,
    source_files,
)
from workers.unet.process.model_sizes import ModelSizes

COMMIT = "a" * 40
STEM = "diffusion_pytorch_model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on disk, as it is without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, name: str, source: Path) -> Path:
    """A repository ``org/name`` of which all files of ``source`` were downloaded; it has a README, too."""
    repository = hub / f"models--org--{name}"
    folder = Path(shutil.copytree(source, repository / "snapshots" / COMMIT))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    files = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
    entry = TreeCacheEntry(size=1, blob_id="b" * 40, lfs_sha256=None, lfs_size=None, xet_hash=None)
    write_tree_cache(str(repository), COMMIT, dict.fromkeys([*files, "README.md"], entry))
    return folder


def keep_transformer(folder: Path) -> None:
    """Remove all else of a base model: what a worker has that serves ControlNets alone."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
        elif path.name != "transformer":
            shutil.rmtree(path)


def test_a_model_in_the_hubs_cache_takes_what_its_folder_takes(hub: Path) -> None:
    folder = cached(hub, "emoji", EMOJI / "model")
    for options in ({}, {"without": "text_encoder"}):
        of_folder = estimate_bytes(str(EMOJI / "model"), "float16", **options)
        assert estimate_bytes("org/emoji", "float16", **options) == of_folder > 0
        assert estimate_bytes(f"org/emoji@{COMMIT}", "float16", **options) == of_folder
    # And what decides its hash is what was downloaded of the repository
    assert source_files("org/emoji") == source_files(str(folder)) != []
    # One that is not there, or is no hub id, is not known
    assert estimate_bytes("org/emoji@v2", "float16") == estimate_bytes("no hub id", "float16") == 0


def test_what_is_not_wholly_in_the_hubs_cache_is_not_known_yet(hub: Path) -> None:
    folder = cached(hub, "emoji", EMOJI / "model")
    whole = (folder / "vae" / f"{STEM}.safetensors").rename(folder / "vae" / "away")
    assert estimate_bytes("org/emoji", "float32") == 0
    for shard in ("00001", "00002"):
        assert estimate_bytes("org/emoji", "float32") == 0
        save_file({"w": torch.zeros(10)}, folder / "vae" / f"{STEM}-{shard}-of-00002.safetensors")
    in_shards = estimate_bytes("org/emoji", "float32")
    whole.with_name("away").rename(folder / "vae" / f"{STEM}.safetensors")
    assert 0 < in_shards < estimate_bytes("org/emoji", "float32")


def test_text_encoders_of_a_hub_id_are_apart_where_they_do_not_fit(hub: Path, tmp_path: Path) -> None:
    cached(hub, "emoji", EMOJI / "model")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text('default_model = "m"\n[models.m]\nsource = "hub:org/emoji"\n')
    settings = Settings(catalog=catalog, home=tmp_path)
    whole = estimate_bytes(str(EMOJI / "model"), "float32")
    small, large = (
        ModelSizes(settings, read_catalog(catalog), DeviceMemory(size)) for size in (whole - 1, whole)
    )
    assert small.is_apart("m")
    assert not large.is_apart("m")
    assert 0 < small.estimate_bytes("m") < large.estimate_bytes("m") == whole


@pytest.mark.parametrize("has_whole_base", [True, False])
def test_a_controlnet_in_the_hubs_cache_counts_with_the_layers_of_its_base_model(
    has_whole_base: bool, hub: Path, tmp_path: Path
) -> None:
    make_z_image().save_pretrained(tmp_path / "base")
    make_z_image_controlnet("2.1").save_pretrained(tmp_path / "controlnet")
    path = tmp_path / "catalog.toml"
    text = 'default_model = "m"\n[models.m]\nsource = "{}"\n[controlnets.c]\nsource = "{}"\nmodel = "m"\n'
    sizes = {}
    for base, controlnet in (("base", "controlnet"), ("hub:org/base", "hub:org/controlnet")):
        path.write_text(text.format(base, controlnet))
        sizes[controlnet] = ControlNetBytes(path, read_catalog(path))
    assert sizes["hub:org/controlnet"].estimate("c") == 0
    # Given the ControlNet's config, and of the base model all files or those that have the layers
    base, controlnet = (cached(hub, name, tmp_path / name) for name in ("base", "controlnet"))
    if not has_whole_base:
        keep_transformer(base)
    weights = (controlnet / f"{STEM}.safetensors").rename(tmp_path / "weights")
    assert sizes["hub:org/controlnet"].estimate("c") == 0
    weights.rename(controlnet / f"{STEM}.safetensors")
    sizes["hub:org/controlnet"].download("c")
    assert sizes["hub:org/controlnet"].estimate("c") == sizes["controlnet"].estimate("c") > 0
    # And it is loaded within that
    settings = Settings(catalog=path, home=tmp_path)
    memory = DeviceMemory(sizes["controlnet"].estimate("c") - 1)
    with (
        pytest.raises(ModelFailed, match=r"'c' takes \d+ bytes, SWIFT_MODEL_MEMORY_BYTES is"),
        controlnet_cache(read_catalog(path), settings, memory).use("c"),
    ):
        pass


def test_a_model_is_downloaded_before_memory_is_reserved_for_it() -> None:
    class Thing:
        weight_bytes = 10

    here: set[str] = {"first"}
    beside = []

    def load(name: str) -> Thing:
        beside.append(len(memory.models.items()))
        return Thing()

    memory = DeviceMemory(15)
    models = ModelCache(load, memory, lambda name: 10 if name in here else 0, here.add)
    with models.use("first"), pytest.raises(Unavailable), models.use("second", room="free"):
        pass
    # What is not in use makes room before it is loaded
    with models.use("third"):
        assert models.names() == ["third"]
    assert beside == [0, 0]


def test_a_download_that_fails_fails_the_model_by_name(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"model 'm' \(hub:org/gone\) cannot be downloaded: "):
        download_entry("m", ModelEntry(source="hub:org/gone"), tmp_path / "catalog.toml")
    path = tmp_path / "catalog.toml"
    path.write_text(
        'default_model = "m"\n[models.m]\nsource = "hub:org/m"\n'
        '[controlnets.c]\nsource = "hub:org/gone"\nmodel = "m"\n'
    )
    with pytest.raises(ModelFailed, match=r"ControlNet 'c' \(hub:org/gone\) cannot be downloaded: "):
        ControlNetBytes(path, read_catalog(path)).download("c")


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        (
            None,
            [f"{STEM}.safetensors", f"{STEM}-00001-of-00002.safetensors", f"{STEM}.safetensors.index.json"],
        ),
        (
            "fp16",
            [
                f"{STEM}.fp16.safetensors",
                f"{STEM}.fp16-00001-of-00002.safetensors",
                f"{STEM}-00001-of-00002.fp16.safetensors",
                f"{STEM}.safetensors.index.fp16.json",
            ],
        ),
    ],
)
def test_of_a_controlnets_repository_what_is_loaded_is_downloaded(
    variant: str | None, wanted: Sequence[str]
) -> None:
    others = [f"{STEM}.bin", f"{STEM}.non_ema.safetensors", "image.png", "other.safetensors"]
    others += [f"{STEM}.fp16.safetensors"] if variant is None else [f"{STEM}.safetensors"]
    asked: list[tuple[str, str | None]] = []
    files: list[str] = []

    def download(hub_id: str, *, revision: str | None, allow_patterns: Sequence[str]) -> str:
        asked.append((hub_id, revision))
        found = huggingface_hub.utils.filter_repo_objects(
            ["config.json", *wanted, *others], allow_patterns=list(allow_patterns)
        )
        files.extend(found)
        return "folder"

    download_controlnet("org/edge@v1", variant, download)
    assert asked == [("org/edge", "v1")]
    assert files == ["config.json", *wanted]
    download_controlnet(str(EMOJI / "controlnets" / "edge"), variant, download)
    assert len(asked) == 1


def test_layers_of_a_base_model_are_found_where_nothing_else_of_it_is(hub: Path, tmp_path: Path) -> None:
    make_z_image().save_pretrained(tmp_path / "base")
    base = cached(hub, "base", tmp_path / "base")
    keep_transformer(base)
    (base / "transformer" / "config.json").unlink()
    asked: list[Sequence[str]] = []

    def download(hub_id: str, *, revision: str | None, allow_patterns: Sequence[str]) -> str:
        asked.append(allow_patterns)
        return str(base)

    assert source_files("org/base") == []
    download_layers("org/base", "transformer", ("noise_refiner.",), download)
    assert asked[-1] == ["transformer/config.json", "transformer/*.safetensors"]
    shutil.copy(tmp_path / "base" / "transformer" / "config.json", base / "transformer")
    names = ["config.json", f"{STEM}.safetensors"]
    assert source_files("org/base") == [base / "transformer" / name for name in names]


def test_layers_of_a_base_model_in_several_files_count_once_all_that_have_them_are_here(
    hub: Path, tmp_path: Path
) -> None:
    make_z_image().save_pretrained(tmp_path / "base", max_shard_size="20KB")
    base = cached(hub, "base", tmp_path / "base")
    keep_transformer(base)
    index = base / "transformer" / INDEX
    whole = estimate_layer_bytes("org/base", "float32", "transformer", ("noise_refiner.",))
    wanted = indexed_files(index, ("noise_refiner.",))
    assert whole > 0
    assert 1 < len(wanted) < len(indexed_files(index, ("",)))
    for file in set(indexed_files(index, ("",))) - set(wanted):
        (index.parent / file).unlink()
    assert estimate_layer_bytes("org/base", "float32", "transformer", ("noise_refiner.",)) == whole
    (index.parent / wanted[0]).unlink()
    assert estimate_layer_bytes("org/base", "float32", "transformer", ("noise_refiner.",)) == 0
