from pathlib import Path

import pytest

from infra.bench.harness.plots import plot as write_plot
from infra.bench.harness.report import CheckFailed, Result
from infra.bench.parts.throughput.saturated import ELASTIC, FIXED, PLAIN, Sizes, steady_rate
from infra.bench.parts.throughput.share import BOUNDS, FULL, STEPS, compare, least_s, plot
from infra.bench.timed.columns import COLUMNS, Column
from infra.bench.timed.times import Times

SIZES = Sizes(Times(), STEPS, 4, COLUMNS[:1], 3)


def rates(plain: list[float]) -> dict[str, dict[str, list[float]]]:
    return {PLAIN: {"0c0l": plain}, ELASTIC: {"0c0l": [0.36, 0.33, 0.35]}, FIXED: {"0c0l": [0.18] * 3}}


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_serial_diffusers_takes_the_paper_s_seconds_also_with_fewer_longer_steps(column: Column) -> None:
    sizes = FULL.sizes
    measured, many = sizes.measured, SIZES.measured
    seconds = measured.alone_s(sizes.steps, column.controlnets, column.loras)
    assert seconds == pytest.approx(column.diffusers_s, rel=0.03)
    assert seconds == pytest.approx(many.alone_s(STEPS, column.controlnets, column.loras))


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_no_target_is_beyond_what_the_devices_allow(column: Column) -> None:
    bound = BOUNDS[f"saturated_vs_diffusers_{column.name}"]
    assert bound.value < column.diffusers_s / least_s(column)


def test_ratios_are_those_of_the_rounds() -> None:
    figures = compare(rates([0.35, 0.34, 0.36]), SIZES)
    assert figures["timed_images_per_device_s_0c0l"] == 0.35
    assert figures["saturated_vs_diffusers_0c0l"] == pytest.approx(0.35 / 0.36)
    assert figures["fixed_vs_diffusers_0c0l"] == pytest.approx(0.18 / 0.35)
    assert figures["diffusers_s_over_paper_0c0l"] == pytest.approx(1 / (0.35 * 2.88))


def test_a_plain_fleet_that_is_slower_than_the_paper_s_does_not_count() -> None:
    with pytest.raises(CheckFailed, match=r"0c0l: a plain device takes 1\.15"):
        compare(rates([0.3, 0.3, 0.3]), SIZES)


def test_a_rate_is_taken_after_the_first_wave() -> None:
    assert steady_rate([9.0, 5.0, 5.0, 9.0], first=2) == pytest.approx(2 / 4)
    # Four devices end a first job at different times, and share what is left of the second ones
    assert steady_rate([10.0, 11.0, 12.0, 14.0, *[21.75] * 4], first=4) == pytest.approx(0.4)


def test_the_full_form_has_every_figure_with_a_target_and_a_plot(tmp_path: Path) -> None:
    by_column = {column.name: [1 / column.diffusers_s] for column in COLUMNS}
    figures = compare({ELASTIC: by_column, FIXED: by_column, PLAIN: by_column}, FULL.sizes)
    figures |= {"cpu_share_of_steps": 0.04, "devices": 4.0, "timed_steps_per_image": 10.0}
    assert set(BOUNDS) <= set(figures)
    figures |= {f"timed_latency_{column.name}": 2.0 for column in COLUMNS}
    result = Result(
        part="share",
        form="full",
        machine={},
        versions={},
        commit="none",
        figures=figures,
        samples={},
        targets={},
    )
    write_plot(result, plot, tmp_path / "share.png")
    assert (tmp_path / "share.png").stat().st_size > 10_000
