"""The soak's own arithmetic; that it holds is measured by `make bench PART=soak`."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.soak.loras import MAX_BYTES, MIN_BYTES, attention_shapes, make_lora
from infra.bench.parts.soak.messages import SURVIVOR, SoakResult
from infra.bench.parts.soak.soak import judge_soak
from shared.settings import Settings
from tests.tiny_models import EMOJI
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora


def soaked(**changes: object) -> SoakResult:
    rss_mb = [*range(500, 520), *[520.0] * 20]
    told = {
        "ended": Counter(succeeded=39, lora_gone=1),
        "tiers": Counter(s3=3, disk=1),
        "cache_capacity_bytes": 100,
        "cache_most_bytes": 99,
        "rss_mb": rss_mb,
        "worker": [SURVIVOR] * 40,
    }
    return SoakResult.model_validate(told | changes)


def test_a_seed_decides_a_lora_that_fits_the_embedded_model(tmp_path: Path) -> None:
    shapes = attention_shapes()
    body, again, other = (make_lora(shapes, seed) for seed in (5, 5, 6))
    assert body == again != other
    assert all(MIN_BYTES <= len(lora) <= 1.05 * MAX_BYTES for lora in (body, other))
    path = tmp_path / "lora.safetensors"
    path.write_bytes(body)
    unet = UNet2DConditionModel.from_pretrained(EMOJI / "model", subfolder="unet", dtype=torch.float32)
    assert read_lora(path, UNetLoraTargets({"unet": unet})).nbytes > MIN_BYTES


def test_a_fault_makes_a_run_count_for_nothing() -> None:
    with pytest.raises(CheckFailed, match="2 faults: job 1; job 2"):
        judge_soak(soaked(faults=["job 1", "job 2"]), Settings())


def test_growth_is_that_of_a_worker_that_is_warm() -> None:
    figures = judge_soak(soaked(), Settings()).figures
    assert figures["survivor_rss_growth_mb"] == 520 - 514.5
    assert figures["share_from_s3"] == 0.75
    assert figures["cache_fill_most"] == 0.99
