"""Part ``gpu`` at toy size on the CPU: its logic, not its times."""

from pathlib import Path

from infra.bench.harness.report import Measured
from infra.bench.parts.gpu import gpu


def measure(tmp_path: Path, *only: str) -> Measured:
    return gpu.measure_experiments(True, only, None, lambda _: None, folder=tmp_path)


def test_the_parts_of_diffusers_step_are_measured_at_toy_size(tmp_path: Path) -> None:
    measured = measure(tmp_path, "E0", "E1", "E3")
    assert measured.failures == ()
    assert measured.notes == ("E3 skipped: CUDA graphs need a GPU",)
    assert {"matmul_tflops", "memory_gb_per_s", "unet_ms_rows2", "diffusers_eager_s", "limit_s"} <= set(
        measured.figures
    )
    assert measured.bounds == {}, "toy times are held against nothing"
    assert "toy" in str(measured.device["gpu"])
    assert list(tmp_path.iterdir()) == [], "models and fleets are gone"
