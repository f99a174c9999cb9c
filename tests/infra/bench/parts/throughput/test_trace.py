import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.bench.harness.plots import plot as write_plot
from infra.bench.harness.report import CheckFailed, Result
from infra.bench.parts.throughput.trace import BOUNDS, FULL, Amount, Bench, compare, estimates, plot
from infra.bench.parts.throughput.trace_fleets import ELASTIC, FIXED, PLAIN, Place, Replayed
from infra.bench.workloads.trace_jobs import TraceJob, write_loras


class InstantFleet:
    """Takes streams and generates images of one grey."""

    def __init__(self, name: str, order: list[str], grey: int = 100) -> None:
        self.streams: list[list[TraceJob]] = []
        self._name, self._order, self._grey = name, order, grey

    def replay(self, stream: Sequence[TraceJob], steps: int) -> Replayed:
        self._order.append(self._name)
        self.streams.append(list(stream))
        return Replayed([1.0] * len(stream), 1.0, 1.0)

    def image(self, job: TraceJob, steps: int) -> bytes:
        png = io.BytesIO()
        Image.new("RGB", (2, 2), (self._grey,) * 3).save(png, "PNG")
        return png.getvalue()


class Bucket:
    """Keeps the names of LoRAs."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def put_lora(self, path: Path) -> None:
        assert path.stat().st_size
        self.names.append(path.stem)


@pytest.fixture
def order() -> list[str]:
    return []


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def make_bench(folder: Path, bucket: Any, fleets: Mapping[str, InstantFleet]) -> Bench:
    write_loras(folder / "loras")
    return Bench(Place(folder, bucket, "http://s3"), fleets, Amount(6, 4, 2, (0.5,), 3))


def test_all_fleets_get_the_same_cold_jobs_in_alternating_order(
    tmp_path: Path, bucket: Bucket, order: list[str]
) -> None:
    fleets = {name: InstantFleet(name, order) for name in (PLAIN, ELASTIC, FIXED)}
    bench = make_bench(tmp_path, bucket, fleets)
    bench.check_images()
    for number in range(2):
        assert set(bench.saturated(number)) == set(fleets)
    for number in range(2):
        bench.at_rate(0.5, number)
    assert order == [PLAIN, ELASTIC, FIXED, FIXED, ELASTIC, PLAIN] * 2
    assert fleets[PLAIN].streams == fleets[ELASTIC].streams == fleets[FIXED].streams
    first, _, light, light_again = fleets[PLAIN].streams
    assert {job.seed for job in light}.isdisjoint(job.seed for job in light_again)
    assert {job.at_s for job in first} == {0.0}
    assert light[-1].at_s == pytest.approx(6.0)
    used = [{name for job in stream for name, _ in job.loras} for stream in fleets[PLAIN].streams]
    assert len(set.union(*used)) == sum(map(len, used))
    assert set.union(*used) <= set(bucket.names)
    assert len(bucket.names) == len(set(bucket.names))


def test_another_image_than_diffusers_does_not_count(
    tmp_path: Path, bucket: Bucket, order: list[str]
) -> None:
    greys = {PLAIN: 100, ELASTIC: 101, FIXED: 102}
    fleets = {name: InstantFleet(name, order, grey) for name, grey in greys.items()}
    with pytest.raises(CheckFailed, match="fixed: a pixel of job 0 differs by 2 of 255"):
        make_bench(tmp_path, bucket, fleets).check_images()


def outcome(plain: float, elastic: float, fixed: float) -> dict[str, Replayed]:
    """Images per second of each fleet; latencies are the seconds of one image, and three times as long."""
    rates = {PLAIN: plain, ELASTIC: elastic, FIXED: fixed}
    return {name: Replayed([1 / rate, 3 / rate], rate, 2 / rate) for name, rate in rates.items()}


def test_ratios_are_medians_of_the_rounds_own_and_percentiles_those_of_all_jobs() -> None:
    figures = compare([outcome(1.0, 2.0, 0.5), outcome(2.0, 3.0, 1.5), outcome(1.0, 1.8, 0.8)], "_6")
    assert figures["images_per_s_6"] == 2.0
    assert figures["naive_images_per_s_6"] == 1.0
    assert figures["images_per_s_vs_naive_6"] == pytest.approx(1.8)
    assert figures["fixed_images_per_s_vs_naive_6"] == pytest.approx(0.75)
    assert figures["cpu_s_per_image_vs_naive_6"] == pytest.approx(1 / 1.8)
    # Of the plain fleet's six jobs, of 0.5, 1, 1, 1.5, 3 and 3 s, and the elastic one's
    assert figures["naive_p50_s_6"] == 1.0
    assert figures["p50_vs_naive_6"] == pytest.approx(1 / 1.8)
    assert figures["p95_vs_naive_6"] == figures["slowest_vs_naive_6"] == pytest.approx(1 / 1.8)
    assert figures["fixed_slowest_s_6"] == 6.0


def test_estimates_are_held_against_the_jobs_of_all_rounds() -> None:
    ours = [Replayed([1.0, 2.0], 1.0, 1.0, kept) for kept in ([True, True], [True, False])]
    figures = estimates([{ELASTIC: one} for one in ours])
    assert figures == {"done_by_p90": 0.75, "done_by_p90_excess": 0.0}
    assert estimates([{ELASTIC: ours[0]}])["done_by_p90_excess"] > BOUNDS["done_by_p90_excess"].value


def test_the_95th_percentile_is_not_the_slowest_job_of_the_full_form() -> None:
    assert min(amount.rounds * amount.jobs_per_load for amount in FULL) > 20


def test_the_full_form_has_every_figure_with_a_target_and_a_plot(tmp_path: Path) -> None:
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    for amount in FULL:
        figures |= compare([outcome(1.0, 2.0, 0.5)], f"_{amount.steps}")
        samples[f"loads_{amount.steps}"] = list(amount.loads)
        for load in amount.loads:
            figures |= compare([outcome(1.0, 2.0, 0.5)], f"_{amount.steps}_load_{load:g}".replace(".", "_"))
    figures |= estimates([{ELASTIC: Replayed([1.0], 1.0, 1.0, [True])}])
    assert set(BOUNDS) <= set(figures)
    result = Result(
        part="trace",
        form="full",
        machine={},
        versions={},
        commit="none",
        figures=figures,
        samples=samples,
        targets={},
    )
    write_plot(result, plot, tmp_path / "trace.png")
    assert (tmp_path / "trace.png").stat().st_size > 10_000
