"""Part ``lora`` measures what it says: the same weights as diffusers', and the base's afterwards."""

from pathlib import Path

import torch

from infra.bench.parts.loading.lora import DiffusersBaseline, Ours, measure_pair
from infra.bench.workloads.models import Recipe, open_workload

TOY = Recipe((32, 32, 64, 64), 64, 64, (), vae_channels=8, text_layers=1)


def test_a_pair_makes_the_same_weights_twice_and_leaves_nothing(tmp_path: Path) -> None:
    workload = open_workload("toy", TOY, tmp_path)
    ours, baseline = Ours(workload), DiffusersBaseline(workload)
    told = measure_pair(ours, baseline)
    assert told["max_abs_diff"] < 1e-6
    assert all(told[f"baseline_{act}_s"] > 0 for act in ("load", "fuse", "unfuse", "unload"))
    assert ours.is_pristine()
    ours.replace()
    assert baseline.furthest(ours.parameters) > 0.01
    ours.restore()
    # A weight that somebody else has changed is found
    with torch.no_grad():
        ours.unet.conv_in.weight.add_(1.0)
    assert not ours.is_pristine()
