"""Which weights of a base model are read for a ControlNet, and which files of a hub's are downloaded."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from workers.families.transformer.base_weights import read_base_weights

WANTED = ("pos_embed.", "x_embedder.")
FILES = (
    "diffusion_pytorch_model-00001-of-00002.safetensors",
    "diffusion_pytorch_model-00002-of-00002.safetensors",
)
INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"


def tensor(value: float) -> Tensor:
    return torch.full((2,), value)


class Hub:
    """A hub with one model, whose files come where they are asked for."""

    def __init__(self, folder: Path, files: dict[str, dict[str, Tensor]]) -> None:
        self.folder, self.files = folder, files
        self.index: dict[str, str] | None = None
        self.asked: list[str] = []

    def download(self, hub_id: str, *, revision: str | None, allow_patterns: str | Sequence[str]) -> str:
        assert (hub_id, revision) == ("org/model", "v2")
        (self.folder / "transformer").mkdir(exist_ok=True, parents=True)
        patterns = [allow_patterns] if isinstance(allow_patterns, str) else allow_patterns
        for pattern in patterns:
            if pattern == INDEX and self.index is not None:
                (self.folder / INDEX).write_text(json.dumps({"weight_map": self.index}))
            for name, tensors in self.files.items():
                if Path(f"transformer/{name}").match(pattern):
                    save_file(tensors, self.folder / "transformer" / name)
                    self.asked.append(name)
        return str(self.folder)


def test_of_several_files_on_the_hub_only_those_with_the_weights_are_downloaded(tmp_path: Path) -> None:
    hub = Hub(tmp_path, {FILES[0]: {"pos_embed.a": tensor(1)}, FILES[1]: {"blocks.0": tensor(2)}})
    hub.index = {"pos_embed.a": FILES[0], "blocks.0": FILES[1]}
    read = read_base_weights("org/model@v2", "transformer", WANTED, hub.download)
    assert list(read) == ["pos_embed.a"]
    assert hub.asked == [FILES[0]]


def test_one_file_on_the_hub_is_downloaded(tmp_path: Path) -> None:
    name = "diffusion_pytorch_model.safetensors"
    hub = Hub(tmp_path, {name: {"pos_embed.a": tensor(1), "blocks.0": tensor(2)}})
    read = read_base_weights("org/model@v2", "transformer", WANTED, hub.download)
    assert {name: value.tolist() for name, value in read.items()} == {"pos_embed.a": [1, 1]}
    assert hub.asked == [name]


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_names_in_a_single_file_may_have_a_prefix(prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({f"{prefix}{name}": tensor(i) for i, name in enumerate(("x_embedder.a", "blocks.0"))}, file)
    assert list(read_base_weights(str(file), "transformer", WANTED)) == ["x_embedder.a"]


def test_a_plain_file_counts_before_a_variant_of_it(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    for value, name in ((1, "model.safetensors"), (2, "model.fp16.safetensors")):
        save_file({"pos_embed.a": tensor(value)}, tmp_path / "transformer" / name)
    assert read_base_weights(str(tmp_path), "transformer", WANTED)["pos_embed.a"].tolist() == [1, 1]
