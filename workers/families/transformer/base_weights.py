"""Reads the weights of a base model's transformer that its ControlNets compute with, and nothing else."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor

from shared.catalog.entries import SINGLE_FILE
from workers.model_checks.weight_files import read_json
from workers.runtime.weights.source import FILE_PREFIX, split_revision

#: Which of several files has which weights.
_INDEX = "diffusion_pytorch_model.safetensors.index.json"


def read_base_weights(
    base: str, denoiser: str, begins: tuple[str, ...], download: Callable[..., str] = snapshot_download
) -> dict[str, Tensor]:
    """The weights of the base model's ``denoiser`` whose names begin so, by name; none that are not there.

    ``base``: a folder, a single file or a hub id. Names in a single file may be diffusers' or others.
    """
    weights = {}
    for file in _files(base, denoiser, begins, download):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no dict
                own = name.removeprefix(FILE_PREFIX)
                if own.startswith(begins):
                    weights[own] = opened.get_tensor(name)
    return weights


def _files(base: str, denoiser: str, begins: tuple[str, ...], download: Callable[..., str]) -> list[Path]:
    """Those to read; plain ones come last, and count where there are variants."""
    if base.endswith(SINGLE_FILE):
        return [Path(base)]
    folder = Path(base)
    if not folder.exists() and not folder.is_absolute():
        folder = _downloaded(base, denoiser, begins, download)
    files = (folder / denoiser).glob("*.safetensors")
    return sorted(files, key=lambda file: (-file.name.count("."), file.name))


def _downloaded(base: str, denoiser: str, begins: tuple[str, ...], download: Callable[..., str]) -> Path:
    """The folder of a hub id, with those files of the denoiser that have the weights."""
    hub_id, revision = split_revision(base)
    fetch = partial(download, hub_id, revision=revision.get("revision"))
    folder = Path(fetch(allow_patterns=f"{denoiser}/{_INDEX}"))
    files = ["*.safetensors"]
    if (folder / denoiser / _INDEX).is_file():
        files = sorted(set(_indexed(read_json(folder, f"{denoiser}/{_INDEX}"), begins)))
    fetch(allow_patterns=[f"{denoiser}/{file}" for file in files])
    return folder


def _indexed(index: dict[str, Any], begins: tuple[str, ...]) -> Iterator[str]:
    files = index.get("weight_map", {})
    return (files[name] for name in files if name.startswith(begins))
