"""Part ``gpu`` at toy size on the CPU: its logic, not its times."""

import subprocess
import sys
from pathlib import Path

from infra.bench.harness.machine import describe_commit
from infra.bench.harness.report import Measured, Result, write_result
from infra.bench.parts.gpu import gpu
from infra.bench.parts.gpu.card import describe_card
from infra.bench.parts.gpu.context import Context

#: What a machine may lack that has torch and diffusers.
OPTIONAL = ("flower", "gevent", "matplotlib", "moto", "peft", "seaweedfs")
PROGRAM = f"""
import sys, tempfile
sys.modules.update(dict.fromkeys({OPTIONAL}))
from infra.bench.__main__ import main
from infra.bench.parts.gpu.gpu import measure_experiments
measured = measure_experiments(True, ["E4", "E7"], None, lambda _: None, device="cpu")
assert not measured.failures, measured.failures
assert "lora_patch_ms" in measured.figures
print(*measured.notes, sep="\\n")
"""


def measure(tmp_path: Path, *only: str) -> Measured:
    return gpu.measure_experiments(True, only, None, lambda _: None, folder=tmp_path, device="cpu")


def test_the_parts_of_diffusers_step_are_measured_at_toy_size(tmp_path: Path) -> None:
    measured = measure(tmp_path, "E0", "E1", "E3", "E2", "E6")
    assert measured.failures == ()
    assert [note.partition(" ")[0] for note in measured.notes] == ["E3", "E2", "E6"]
    assert {"matmul_tflops", "memory_gb_per_s", "unet_ms_rows2", "diffusers_eager_s", "limit_s"} <= set(
        measured.figures
    )
    assert measured.bounds == {}, "toy times are held against nothing"
    assert "toy" in str(measured.device["gpu"])
    assert list(tmp_path.iterdir()) == [], "models and fleets are gone"


def test_a_fleet_of_toys_generates_the_images_of_diffusers(tmp_path: Path) -> None:
    measured = measure(tmp_path, "E4", "E5", "E9")
    assert measured.failures == ()
    assert measured.figures["equal_to_diffusers_eager"] == 1
    assert {
        "cfg_branch_step_ms",
        "gap_ms_per_step",
        "tax_1c_same_gpu",
        "d2d_ms_107mb_shared_memory",
        "d2d_ms_107mb_redis",
        "next_job_gap_ms",
    } <= set(measured.figures)
    assert list(tmp_path.iterdir()) == []


def test_a_fleet_generates_the_images_of_a_flux_that_diffusers_does(tmp_path: Path) -> None:
    measured = measure(tmp_path, "E12")
    assert measured.failures == ()
    assert measured.notes == ()
    assert 0 < measured.figures["flux_share_of_dev"] < 1e-3
    for config in ("0c", "1c"):
        for who in ("diffusers", "fleet"):
            assert measured.figures[f"flux_{who}_step_ms_{config}"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_optional_packages_says_what_it_leaves_out() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "E4 skipped: a fleet needs gevent" in done.stdout
    assert "E7: jobs with a cold LoRA left out: a fleet needs gevent" in done.stdout
    assert "E7: diffusers' LoRAs left out: peft is not installed" in done.stdout


def test_an_earlier_call_keeps_its_figures_and_what_it_said(tmp_path: Path) -> None:
    context = Context(quick=True, folder=tmp_path, device="cpu")
    earlier = Result(
        part="gpu",
        form="quick",
        machine=dict(describe_card(context.device)),
        versions={},
        commit=describe_commit(),
        figures={"matmul_tflops": 1.0},
        samples={},
        targets={},
        notes=["E4: the image is another", "E3 skipped: CUDA graphs need a GPU", "E10: of another"],
    )
    write_result(earlier, tmp_path)
    gpu.keep_earlier(context, ["E4", "E1"], tmp_path)
    assert context.figures == {"matmul_tflops": 1.0}
    assert context.notes == earlier.notes[1:]
    assert context.failures == []
