import hashlib
from pathlib import Path

from diffusers import UNet2DConditionModel

from infra.bench.timed.large_loras import PLACES, make_large_loras
from infra.bench.timed.models import NAME, make_timed
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora


def test_large_loras_fit_the_timed_unet_and_are_all_different(tmp_path: Path) -> None:
    make_timed(tmp_path)
    targets = UNetLoraTargets(
        {"unet": UNet2DConditionModel.from_pretrained(tmp_path / NAME, subfolder="unet")}
    )
    hashes, least_bytes, most_bytes = set(), 100_000, 300_000
    for data in make_large_loras([0, 1], (least_bytes, most_bytes)):
        assert 0.9 * least_bytes < len(data) < 1.1 * most_bytes
        hashes.add(hashlib.sha256(data).hexdigest())
        path = tmp_path / "lora.safetensors"
        path.write_bytes(data)
        assert len(read_lora(path, targets).parts["unet"]) == len(PLACES)
    assert len(hashes) == 2
