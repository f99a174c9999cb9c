"""The embedded model and its LoRAs, and what diffusers itself makes of them."""

import copy
import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.tiny_models import EMOJI

Fused = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="session")
def pipe() -> StableDiffusionPipeline:
    """The embedded model; nobody changes its weights, or puts them back."""
    return StableDiffusionPipeline.from_pretrained(EMOJI / "model", torch_dtype=torch.float32)


@pytest.fixture(scope="session")
def lora_file() -> Callable[[str], Path]:
    def lora_file(name: str) -> Path:
        return EMOJI / "loras" / f"{name}.safetensors"

    return lora_file


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes tensors as a safetensors file."""

    def write(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
        path = tmp_path / "lora.safetensors"
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata)
        return path

    return write


@pytest.fixture(scope="session")
def fused() -> Fused:
    """The weights diffusers makes: ``fused((path, scale), ...)`` by `load_lora_weights` and `fuse_lora`.

    The latest are kept, by what is in the files: tests of one LoRA and several writers ask for the same.
    """
    base = StableDiffusionPipeline.from_pretrained(EMOJI / "model", torch_dtype=torch.float32)
    paths: dict[str, Path] = {}

    @functools.lru_cache(maxsize=8)  # 20 MB each
    def fuse(loras: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
        copied: dict[str, Any] = {
            name: copy.deepcopy(part) if isinstance(part, nn.Module) else part
            for name, part in base.components.items()
        }
        other = StableDiffusionPipeline(**copied, requires_safety_checker=False)
        names = [f"lora{index}" for index in range(len(loras))]
        with warnings.catch_warnings(action="ignore"):  # PEFT advises against two adapters
            for name, (sha256, _) in zip(names, loras, strict=True):
                other.load_lora_weights(str(paths[sha256]), adapter_name=name)
            other.set_adapters(names, [json.loads(scale) for _, scale in loras])
            other.fuse_lora(adapter_names=names)
            other.unload_lora_weights()
        return weights_of(parts(other))

    def fused(*loras: tuple[Path, Any]) -> dict[str, Tensor]:
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path, _ in loras]
        paths.update(zip(hashes, (path for path, _ in loras), strict=True))
        scales = [json.dumps(scale) for _, scale in loras]
        return fuse(tuple(zip(hashes, scales, strict=True)))

    return fused


def parts(pipe: Any) -> dict[str, nn.Module]:
    """What a LoRA can train."""
    return {"unet": pipe.unet, "text_encoder": pipe.text_encoder}


def weights_of(models: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Copies of all weights."""
    return {
        f"{part}.{name}": weight.detach().clone()
        for part, model in models.items()
        for name, weight in model.state_dict().items()
    }


@pytest.fixture(scope="session")
def tensors(lora_file: Callable[[str], Path]) -> dict[str, Tensor]:
    """The embedded LoRA that trains UNet, convolutions and text encoder, in PEFT's names."""
    return load_file(lora_file("outline"))
