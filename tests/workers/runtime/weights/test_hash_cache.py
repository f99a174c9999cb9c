import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from workers.runtime.weights.hash_cache import HashCache, LoadHashes
from workers.runtime.weights.loaded import weights_sha256, weights_sha256s

OPTIONS = {"dtype": "float32", "variant": None}


class CountingHash:
    """Hashes as `weights_sha256s` does, and keeps which modules it has read."""

    def __init__(self) -> None:
        self.read: list[Mapping[str, nn.Module]] = []

    def __call__(self, groups: Sequence[Mapping[str, nn.Module]]) -> list[str]:
        self.read += groups
        return weights_sha256s(groups)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with one part, ``unet``, of one layer."""
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / "unet" / "config.json").write_text("{}")
    write_weights(tmp_path / "model", 1.0)
    return tmp_path / "model"


def write_weights(model: Path, value: float) -> None:
    save_file({"weight": torch.full((2, 3), value)}, model / "unet" / "model.safetensors")


def load(model: Path, dtype: torch.dtype = torch.float32) -> dict[str, nn.Linear]:
    layer = nn.Linear(3, 2, bias=False)
    layer.load_state_dict(load_file(model / "unet" / "model.safetensors"))
    return {"unet": layer.to(dtype)}


@pytest.fixture
def counting() -> CountingHash:
    return CountingHash()


@pytest.fixture
def cache(tmp_path: Path, counting: CountingHash) -> HashCache:
    return HashCache(tmp_path / "hashes", counting)


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "hashes").iterdir())


def test_a_folder_beside_the_source_decides_the_hash_too(
    cache: HashCache, counting: CountingHash, model: Path, tmp_path: Path
) -> None:
    # Given a single file, and the folder that has the model's other parts
    file = tmp_path / "one.safetensors"
    save_file({"weight": torch.ones(1)}, file)
    before = cache.for_load(str(file), str(model), **OPTIONS)(load(model))
    write_weights(model, 2.0)
    assert cache.for_load(str(file), str(model), **OPTIONS)(load(model)) != before
    assert len(counting.read) == 2


def test_text_encoders_of_the_same_shapes_have_hashes_of_their_own(
    cache: HashCache, counting: CountingHash, model: Path
) -> None:
    (first,), (other,) = load(model).values(), load(model).values()
    with torch.no_grad():
        other.weight += 1
    hashes = cache.for_load(str(model), **OPTIONS)
    found = [hashes.of_text_encoder("text_encoder", first), hashes.of_text_encoder("text_encoder_2", other)]
    fresh = LoadHashes()
    # Then each is that of its weights, whatever its part is called, also from memory
    assert found == [fresh.of_text_encoder("any", first), fresh.of_text_encoder("any", other)]
    assert found[0] != found[1]
    again = cache.for_load(str(model), **OPTIONS)
    assert [
        again.of_text_encoder("text_encoder", first),
        again.of_text_encoder("text_encoder_2", other),
    ] == found
    assert len(counting.read) == 2


@pytest.mark.parametrize("encoders", [["text_encoder"], ["text_encoder", "text_encoder_2"]])
def test_a_model_and_its_text_encoders_are_read_once(
    cache: HashCache, counting: CountingHash, model: Path, encoders: list[str]
) -> None:
    parts = {name: module for name in ("unet", *encoders) for module in load(model).values()}
    with torch.no_grad():
        for number, module in enumerate(parts.values()):
            module.weight += number
    hashes = cache.for_load(str(model), **OPTIONS)
    found = hashes.of_model(parts, encoders, alone=True)
    texts = {name: parts[name] for name in encoders}
    assert found.model == LoadHashes()(parts)
    assert found.texts == LoadHashes()(texts)
    assert found.alone == {name: LoadHashes().of_text_encoder(name, parts[name]) for name in encoders}
    assert found == LoadHashes().of_model(parts, encoders, alone=True)
    # Then all of it is known, and of a model that is loaded whole only what was not asked for is read
    assert len(counting.read) == 2 + len(encoders)
    assert cache.for_load(str(model), **OPTIONS).of_model(parts, encoders, alone=True) == found
    assert cache.for_load(str(model), **OPTIONS).of_model(parts, encoders, alone=False).model == found.model
    assert len(counting.read) == 2 + len(encoders)
    other = {**OPTIONS, "variant": "fp16"}
    cache.for_load(str(model), **other).of_model(parts, encoders, alone=False)
    cache.for_load(str(model), **other).of_model(parts, encoders, alone=True)
    assert counting.read[-len(encoders) :] == [{"text_encoder": parts[name]} for name in encoders]


def test_what_is_known_is_found_for_modules_without_memory(
    cache: HashCache, counting: CountingHash, model: Path
) -> None:
    with torch.device("meta"):
        modules = {"unet": nn.Linear(3, 2, bias=False)}
    (layer,) = modules.values()
    hashes = cache.for_load(str(model), **OPTIONS)
    # Given nothing, nothing is known; nor is a text encoder, once its model is
    assert (hashes.known(modules), hashes.known_text_encoder("unet", layer)) == (None, None)
    loaded = load(model)
    found = hashes(loaded)
    assert (hashes.known(modules), hashes.known_text_encoder("unet", layer)) == (found, None)
    own = hashes.of_text_encoder("unet", loaded["unet"])
    assert hashes.known_text_encoder("unet", layer) == own
    # And of a type or of files that have changed nothing is
    assert hashes.known({"unet": layer.half()}) is None
    write_weights(model, 2.0)
    assert hashes.known({"unet": layer.float()}) is None
    assert cache.for_load(str(model), **OPTIONS).known(modules) is None
    assert LoadHashes().known(modules) is None
    assert len(counting.read) == 2


def test_the_second_load_reads_no_weight_and_gives_the_same_hash(
    cache: HashCache, counting: CountingHash, model: Path, tmp_path: Path
) -> None:
    modules = load(model)
    first = cache.for_load(str(model), **OPTIONS)(modules)
    # When another process loads the same files
    again = HashCache(tmp_path / "hashes", counting).for_load(str(model), **OPTIONS)(load(model))
    assert again == first == weights_sha256(modules)
    assert counting.read == [modules]


def test_a_changed_file_is_hashed_again_although_its_time_was_set_back(
    cache: HashCache, counting: CountingHash, model: Path, tmp_path: Path
) -> None:
    file = model / "unet" / "model.safetensors"
    before, times = cache.for_load(str(model), **OPTIONS)(load(model)), file.stat()
    write_weights(model, 2.0)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    after = cache.for_load(str(model), **OPTIONS)(load(model))
    assert after == weights_sha256(load(model)) != before
    assert len(counting.read) == 2
    assert len(entries(tmp_path)) == 1  # that of the files as they were is dropped


def test_a_file_that_changes_during_the_load_is_not_remembered(
    cache: HashCache, model: Path, tmp_path: Path
) -> None:
    hash_weights, modules = cache.for_load(str(model), **OPTIONS), load(model)
    write_weights(model, 2.0)
    assert hash_weights(modules) == weights_sha256(modules)
    assert not (tmp_path / "hashes").exists()


@pytest.mark.parametrize("change", ["option", "dtype", "config"])
def test_whatever_decides_the_tensors_has_a_hash_of_its_own(
    cache: HashCache, counting: CountingHash, model: Path, change: str
) -> None:
    cache.for_load(str(model), **OPTIONS)(load(model))
    modules = load(model, torch.float16 if change == "dtype" else torch.float32)
    if change == "config":
        (model / "unet" / "config.json").write_text('{"changed": true}')
    options = {**OPTIONS, "variant": "fp16"} if change == "option" else OPTIONS
    assert cache.for_load(str(model), **options)(modules) == weights_sha256(modules)
    assert len(counting.read) == 2


@pytest.mark.parametrize(
    "damage", [b"", b"\xff{", b"[]", b"{}", b'{"format": 1, "sha256": "abc", "files": {}}']
)
def test_a_damaged_entry_is_ignored_and_written_anew(
    cache: HashCache, counting: CountingHash, model: Path, tmp_path: Path, damage: bytes
) -> None:
    right = cache.for_load(str(model), **OPTIONS)(load(model))
    [entry] = entries(tmp_path)
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert cache.for_load(str(model), **OPTIONS)(load(model)) == right
    assert len(counting.read) == 2
    assert entry.read_bytes() == whole


def test_an_entry_of_other_files_is_not_believed(
    cache: HashCache, counting: CountingHash, model: Path, tmp_path: Path
) -> None:
    right = cache.for_load(str(model), **OPTIONS)(load(model))
    [entry] = entries(tmp_path)
    foreign = json.loads(entry.read_text())
    entry.write_text(json.dumps({**foreign, "files": {"/elsewhere": [1, 2, 3, 4, 5]}, "sha256": "0" * 64}))
    assert cache.for_load(str(model), **OPTIONS)(load(model)) == right
    assert len(counting.read) == 2


def test_entries_of_files_that_are_gone_are_dropped(cache: HashCache, model: Path, tmp_path: Path) -> None:
    cache.for_load(str(model), **OPTIONS)(load(model))
    [gone] = entries(tmp_path)
    moved = model.rename(tmp_path / "moved")
    cache.for_load(str(moved), **OPTIONS)(load(moved))
    [kept] = entries(tmp_path)
    assert kept != gone


def test_a_folder_that_takes_no_file_costs_only_the_hash(
    counting: CountingHash, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    cache = HashCache(tmp_path / "file", counting)
    for _ in range(2):
        assert cache.for_load(str(model), **OPTIONS)(load(model)) == weights_sha256(load(model))
    assert len(counting.read) == 2


@pytest.mark.parametrize("has_others", [False, True])
def test_a_source_that_is_not_here_is_hashed_each_time(
    has_others: bool, cache: HashCache, counting: CountingHash, model: Path
) -> None:
    modules: dict[str, nn.Module] = {"unet": nn.Linear(3, 2)}
    sources = [str(model), "org/never-downloaded"] if has_others else ["org/never-downloaded"]
    for _ in range(2):
        assert cache.for_load(*sources, **OPTIONS)(modules) == weights_sha256(modules)
    assert len(counting.read) == 2
