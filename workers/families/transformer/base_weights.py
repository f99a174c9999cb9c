"""Reads the weights of a base model's transformer that its ControlNets compute with, and nothing else."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor

from shared.catalog.entries import SINGLE_FILE
from workers.runtime.weights.download import download_layers
from workers.runtime.weights.source import FILE_PREFIX


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
    files = (download_layers(base, denoiser, begins, download) / denoiser).glob("*.safetensors")
    return sorted(files, key=lambda file: (-file.name.count("."), file.name))
