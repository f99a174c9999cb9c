"""Results of several runs on one card become one."""

from pathlib import Path

import pytest
from PIL import Image

from infra.bench.harness.report import CheckFailed, Result, Target
from infra.bench.parts.gpu.merge import main, merge


def result(figures: dict[str, float], gpu: str = "NVIDIA H100", **changes: object) -> Result:
    given = {
        "part": "gpu",
        "form": "full",
        "machine": {"gpu": gpu},
        "versions": {},
        "commit": "0123456789ab",
        "figures": figures,
        "samples": {name: [value] for name, value in figures.items()},
        "targets": {"lora_patch_ms": Target(at_most=15, met=figures["lora_patch_ms"] <= 15, limit=3.0)}
        if "lora_patch_ms" in figures
        else {},
        "notes": [f"of {', '.join(figures)}"],
    }
    return Result.model_validate({**given, **changes})


def test_the_later_result_counts_where_both_have_measured() -> None:
    first = result({"lora_patch_ms": 20.0, "diffusers_eager_s": 2.5})
    second = result({"lora_patch_ms": 12.0, "limit_s": 0.8}, commit="ba9876543210")
    merged = merge([first, second])
    assert merged.figures == {"lora_patch_ms": 12.0, "diffusers_eager_s": 2.5, "limit_s": 0.8}
    assert merged.targets["lora_patch_ms"].met
    assert merged.commit == "0123456789ab, ba9876543210"
    assert len(merged.notes) == 2


def test_results_of_other_cards_do_not_belong_together() -> None:
    with pytest.raises(CheckFailed, match="of NVIDIA H200"):
        merge([result({"limit_s": 1.0}), result({"limit_s": 1.0}, gpu="NVIDIA H200")])


def test_a_quick_result_does_not_belong_to_a_full_one() -> None:
    with pytest.raises(CheckFailed, match=r"\(quick\) and of NVIDIA H100 \(full\) do not belong together"):
        merge([result({"limit_s": 1.0}, form="quick"), result({"limit_s": 1.0})])


def test_what_was_merged_is_written_with_its_plot_and_all_targets(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(result({"lora_patch_ms": 20.0, "diffusers_eager_s": 2.5}).model_dump_json())
    main([str(file)], tmp_path / "out")
    assert "**20**" in (tmp_path / "out" / "gpu-targets.md").read_text()
    assert Result.model_validate_json((tmp_path / "out" / "gpu.json").read_text()).part == "gpu"
    with Image.open(tmp_path / "out" / "gpu.png") as image:
        assert image.width == 1200
