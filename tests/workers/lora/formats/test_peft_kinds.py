"""What PEFT trains and saves beyond plain factors is what diffusers fuses, alone and beside another LoRA."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict

from tests.workers.lora.conftest import Fused, parts, weights_of
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher

TARGETS = ["to_q", "to_out.0", "proj_in", "conv1", "ff.net.0.proj"]
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 6},
    "dora": {"r": 4, "lora_alpha": 6, "use_dora": True},
    "patterns": {"r": 4, "lora_alpha": 6, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"conv1": 1}},
    "bias": {"r": 4, "lora_alpha": 6, "lora_bias": True},
}
Save = Callable[[str, int], Path]


@pytest.fixture
def save(pipe: StableDiffusionPipeline, tmp_path: Path) -> Save:
    """Trains a LoRA of a kind, as far as a seed can, and saves it as diffusers' training scripts do."""

    def save(kind: str, seed: int) -> Path:
        unet = copy.deepcopy(pipe.unet)
        targets = TARGETS if kind != "bias" else ["to_out.0", "proj_in", "conv1"]  # that have one
        config = LoraConfig(target_modules=targets, **CONFIGS[kind])
        unet.add_adapter(config)
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in unet.named_parameters():
                if "lora_" in name:
                    parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)
        folder = tmp_path / f"{kind}-{seed}"
        with warnings.catch_warnings(action="ignore"):  # PEFT takes a bias for a shard of something
            tensors = get_peft_model_state_dict(unet)
        told = unet.peft_config["default"].to_dict()
        StableDiffusionPipeline.save_lora_weights(
            folder, unet_lora_layers=tensors, unet_lora_adapter_metadata=told
        )
        return folder / "pytorch_lora_weights.safetensors"

    return save


@pytest.mark.parametrize(
    "kinds",
    [["dora"], ["patterns"], ["bias"], ["plain", "dora"], ["dora", "dora", "bias"]],
    ids="-".join,
)
def test_a_patched_model_is_the_one_diffusers_fuses(
    pipe: StableDiffusionPipeline, fused: Fused, save: Save, kinds: list[str]
) -> None:
    loras = [(save(kind, seed), 0.9 - 0.2 * seed) for seed, kind in enumerate(kinds)]
    patcher = Patcher(parts(pipe))
    base = weights_of(parts(pipe))
    try:
        patcher.apply([(read_lora(path, UNetLoraTargets(parts(pipe))), scale) for path, scale in loras])
        ours, theirs = weights_of(parts(pipe)), fused(*loras)
    finally:
        patcher.restore()
    assert max((ours[name] - theirs[name]).abs().max() for name in base) < 2e-6
    assert max((base[name] - theirs[name]).abs().max() for name in base) > 0.02
    assert all(torch.equal(weight, base[name]) for name, weight in weights_of(parts(pipe)).items())
