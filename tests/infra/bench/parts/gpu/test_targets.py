"""Targets of the part: all of them are shown, measured or not."""

from infra.bench.parts.gpu.runner import ALL
from infra.bench.parts.gpu.targets import NOT_MEASURED, TARGETS, bounds_of, targets_table
from shared.settings import ROOT


def test_only_what_was_measured_is_held_against_a_target() -> None:
    bounds = bounds_of({"lora_patch_ms": 12.0, "unet_ms_rows2": 40.0}, {"lora_patch_ms": 3.0})
    assert list(bounds) == ["lora_patch_ms"]
    assert bounds["lora_patch_ms"].limit == 3.0
    assert bounds["lora_patch_ms"].anchor == "Katz 90"


def test_the_table_has_a_row_for_every_target() -> None:
    rows = targets_table({}, {}).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [target.figure for target in TARGETS]
    assert all(NOT_MEASURED in row for row in rows)


def test_a_missed_target_is_bold() -> None:
    table = targets_table({"lora_patch_ms": 20.0, "lora_restore_ms": 4.0}, {"lora_restore_ms": 1.0})
    assert "| **20** |  | ≤ 15 |" in table
    assert "| 4 | 1 | ≤ 5 |" in table


def test_the_documentation_shows_every_target_and_every_experiment() -> None:
    text = (ROOT / "infra" / "docs" / "benchmarks.md").read_text()
    for target in TARGETS:
        sign = "≤" if target.kind == "at_most" else "≥"
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{target.figure}` |")]
        assert f"| {sign} {target.value:g} |" in row
    for experiment in ALL:
        assert f"| {experiment.name} | {experiment.title} | {experiment.budget_s:g} |" in text
