"""Loads a ControlNet of Z-Image from a single file, with the config of a folder or of its own."""

from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ZImageControlNetModel
from diffusers.loaders.single_file_utils import load_single_file_checkpoint
from torch import Tensor

from shared.families.z_image_controlnet_file import (
    BEFORE_PROJ,
    VERSIONS,
    controlnet_config,
    is_refiner,
    noise_refiner,
)
from workers.families.transformer.single_file import load_weights
from workers.model_checks.weight_files import Unloadable


def load_controlnet_file(path: str, config: str | None, dtype: torch.dtype) -> Any:
    """The `ZImageControlNetModel` in a file; ``config`` is a folder with its config. Raises `Unloadable`."""
    weights: dict[str, Tensor] = load_single_file_checkpoint(path)
    is_zero = BEFORE_PROJ in weights and not weights[BEFORE_PROJ].float().any()
    refiner = noise_refiner(weights, before_proj_is_zero=is_zero)
    if config is not None:
        _check_version(refiner, config)
        return _load(weights, config, dtype)
    described = controlnet_config({name: tensor.shape for name, tensor in weights.items()})
    if described is None:
        raise Unloadable(
            "its weights do not tell its layers: its catalog key config must name a folder with its"
            " config.json"
        )
    with init_empty_weights():
        model = ZImageControlNetModel.from_config({**described, "add_control_noise_refiner": refiner})
    with TemporaryDirectory() as folder:  # diffusers reads configs from folders
        model.save_config(folder)
        return _load(weights, folder, dtype)


def _load(weights: dict[str, Tensor], config: str, dtype: torch.dtype) -> Any:
    if _read_config(config)["add_control_noise_refiner"] == "control_layers":
        weights = {name: tensor for name, tensor in weights.items() if not is_refiner(name)}
    return load_weights(ZImageControlNetModel, weights, config, None, dtype)


def _check_version(refiner: str | None, config: str) -> None:
    """Refuse a config of another version, with which the weights may load, and would guide wrongly."""
    described = _read_config(config)["add_control_noise_refiner"]
    if described != refiner:
        own = f"version {VERSIONS[refiner]}, add_control_noise_refiner {refiner!r}"
        theirs = next((version for value, version in VERSIONS.items() if value == described), "unknown")
        raise Unloadable(f"its weights are of {own}; its config says {described!r}, version {theirs}")


def _read_config(folder: str) -> Any:
    described = ZImageControlNetModel.load_config(folder, local_files_only=True)
    with init_empty_weights():
        return ZImageControlNetModel.from_config(described).config
