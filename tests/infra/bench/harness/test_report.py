"""Results: judged, written, read back, shown."""

from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from infra.bench.__main__ import PARTS
from infra.bench.harness.plots import plot
from infra.bench.harness.report import Bound, Result, judge, read_results, report, table, write_result
from infra.bench.parts.latency import overhead

FIGURES = {"reads_per_s": 512.5, "submit_ms_p99": 80.0, "idle_cpu_percent": 2.5, "overhead_ms_p50": 30.0}
BOUNDS = {
    "submit_ms_p99": Bound("at_most", 100),
    "idle_cpu_percent": Bound("at_most", 2),
    "overhead_ms_p50": Bound("at_most", 30),
}


def result(part: str = "api") -> Result:
    return Result(
        part=part,
        form="quick",
        machine={"processor": "abacus", "cores": 2.0},
        versions={"python": "3.11.2"},
        commit="0123456789ab",
        figures=FIGURES,
        samples={
            "submit_ms": [70.5, 80.0],
            "read_ms": [1.0],
            "process_ms": [1000.0],
            "fleet_ms": [1030.0],
            "overhead_ms": [30.0],
            "idle_cpu_percent redis": [2.5],
        },
        targets=judge(FIGURES, BOUNDS),
    )


def test_a_bound_that_is_just_reached_is_met() -> None:
    assert {name: target.met for name, target in result().targets.items()} == {
        "submit_ms_p99": True,
        "idle_cpu_percent": False,
        "overhead_ms_p50": True,
    }
    assert not judge({"x": 1.9}, {"x": Bound("at_least", 2)})["x"].met


def test_missed_targets_come_first_and_figures_without_one_last() -> None:
    names = [line.split("|")[2].strip() for line in table([result()]).splitlines()[2:]]
    assert names == ["idle_cpu_percent", "submit_ms_p99", "overhead_ms_p50", "reads_per_s"]


def test_a_row_tells_value_target_and_verdict() -> None:
    assert "| api | idle_cpu_percent | 2.5 | ≤ 2 | **missed** |" in table([result()])


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = [result("api"), result("overhead")]
    for one in written:
        write_result(one, tmp_path)
    assert read_results(tmp_path) == written
    assert "abacus" in (tmp_path / "api.md").read_text()


def test_the_report_puts_missed_targets_of_all_parts_first() -> None:
    lines = [line for line in report([result("api"), result("overhead")]).splitlines() if line.endswith("|")]
    assert ["missed" in line for line in lines[2:]] == [True, True] + [False] * 6


def test_a_plot_is_a_readable_png(tmp_path: Path) -> None:
    plot(result("overhead"), overhead.plot, tmp_path / "overhead.png")
    with Image.open(tmp_path / "overhead.png") as image:
        assert image.width == 1200


@pytest.mark.parametrize("name", PARTS)
def test_every_part_measures_and_plots(name: str) -> None:
    part = import_module(f"infra.bench.parts.{PARTS[name]}")
    assert callable(part.measure)
    assert callable(part.plot)
