"""Part ``trace``: a stream with the production trace's mix, against the fleet that people build today.

Elastic devices, fixed roles and plain Celery workers with diffusers (`trace_fleets` beside this) get the same
jobs, by turns: all at once, which tells what they can do, and at rates from half of what the plain fleet can
do to more than that. Each round has the reverse order of the one before. Percentiles are of the jobs of all
rounds: too few for a 99th, so the 95th is given, and the slowest job. All have the same S3, behind a line on
which a LoRA takes about as long, beside an image, as hundreds of megabytes do in production; every run's
LoRAs are new to everybody. Beside an image of 6 steps with two ControlNets, two LoRAs cost diffusers about
what they cost it in the paper (1.3 times the image); beside one of 25 steps little.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import mean, median
from typing import Any, NamedTuple

from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.harness.s3 import running_s3
from infra.bench.harness.samples import percentile
from infra.bench.harness.throttled_proxy import slow_line
from infra.bench.parts.throughput.trace_fleets import (
    ELASTIC,
    FIXED,
    PLAIN,
    Place,
    Replayed,
    TraceFleet,
    largest_difference,
    running_trace_fleets,
)
from infra.bench.workloads.trace_jobs import TraceJob, cold, make_stream, spread, write_loras

LINE_BYTES_PER_S = 4e6
#: Jobs of a stream whose images are compared.
COMPARED = 2
#: Beginnings of the names of figures, and how plots call a fleet.
FLEETS = {ELASTIC: ("", "elastic devices"), FIXED: ("fixed_", "one UNet, one ControlNet device")}
PLAIN_LABEL = "Celery and diffusers"


class Amount(NamedTuple):
    """How much is measured with images of so many steps."""

    steps: int
    jobs: int  # of a stream that is there at once
    rounds: int
    loads: Sequence[float]  # rates, as shares of what the plain fleet can do
    jobs_per_load: int  # in each of the rounds


LOADS = (0.5, 0.8, 1.0, 1.2)
#: About 22 minutes. A hundred jobs for each load would take an hour.
FULL = (Amount(6, 24, 2, LOADS, 20), Amount(25, 14, 2, LOADS, 12))
QUICK = (Amount(6, 5, 1, LOADS[1:2], 4), Amount(25, 2, 1, (), 0))
BOUNDS = {
    "images_per_s_vs_naive_6": Bound("at_least", 2),
    "images_per_s_vs_naive_25": Bound("at_least", 1),
    "p95_vs_naive_6": Bound("at_most", 1),
    "p95_vs_naive_25": Bound("at_most", 1),
    "p95_vs_naive_6_load_0_8": Bound("at_most", 1),
    "p95_vs_naive_25_load_0_8": Bound("at_most", 1),
    "done_by_p90": Bound("at_least", 0.85),
    "done_by_p90_excess": Bound("at_most", 0.05),
}
#: The share of jobs that are to be done by their `eta_p90_s`: if more are, estimates are too long.
IN_TIME = 0.9

#: Percentiles of latency, by what they are called.
PERCENTILES = {"p50": 50, "p95": 95, "slowest": 100}
#: What came of one stream, by fleet.
Round = Mapping[str, Replayed]


def measure(quick: bool) -> Measured:
    """The quick form has few jobs, one load and no targets."""
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    every: list[Round] = []
    with _place() as place, running_trace_fleets(place) as fleets:
        for amount in QUICK if quick else FULL:
            bench = Bench(place, fleets, amount)
            bench.check_images()
            rounds = [bench.saturated(i) for i in range(amount.rounds)]
            every += rounds
            figures |= compare(rounds, f"_{amount.steps}")
            samples |= {f"{name}_s_{amount.steps}": _latencies_s(rounds, name) for name in rounds[0]}
            capacity = figures[f"naive_images_per_s_{amount.steps}"]
            for i, load in enumerate(amount.loads):
                first = i * amount.rounds
                at_load = [bench.at_rate(load * capacity, first + j) for j in range(amount.rounds)]
                every += at_load
                key = f"_{amount.steps}_load_{load:g}".replace(".", "_")
                figures |= compare(at_load, key)
                samples |= {f"{name}_s{key}": _latencies_s(at_load, name) for name in at_load[0]}
            samples[f"loads_{amount.steps}"] = list(amount.loads)
    figures |= estimates(every)
    return Measured(figures, samples, {} if quick else BOUNDS)


def estimates(rounds: Sequence[Round]) -> dict[str, float]:
    """Share of the elastic fleet's jobs done by their `eta_p90_s`, and its excess over `IN_TIME`."""
    share = mean(is_done for each in rounds for is_done in each[ELASTIC].done_by_p90)
    return {"done_by_p90": share, "done_by_p90_excess": max(share - IN_TIME, 0.0)}


def compare(rounds: Sequence[Round], key: str) -> dict[str, float]:
    """Figures of each fleet, and their ratios to the plain fleet's.

    Rates and CPU seconds are medians over rounds, and so are their ratios, of the same round each;
    percentiles of latency are those of the jobs of all rounds.
    """
    figures: dict[str, float] = {}
    values = {name: [_describe(each[name]) for each in rounds] for name in rounds[0]}
    for figure in values[PLAIN][0]:
        plain = [one[figure] for one in values[PLAIN]]
        figures[f"naive_{figure}{key}"] = median(plain)
        for name, (prefix, _) in FLEETS.items():
            own = [one[figure] for one in values[name]]
            figures[f"{prefix}{figure}{key}"] = median(own)
            ratios = [ours / theirs for ours, theirs in zip(own, plain, strict=True)]
            figures[f"{prefix}{figure}_vs_naive{key}"] = median(ratios)
    for figure, percent in PERCENTILES.items():
        plain_s = percentile(_latencies_s(rounds, PLAIN), percent)
        figures[f"naive_{figure}_s{key}"] = plain_s
        for name, (prefix, _) in FLEETS.items():
            own_s = percentile(_latencies_s(rounds, name), percent)
            figures[f"{prefix}{figure}_s{key}"] = own_s
            figures[f"{prefix}{figure}_vs_naive{key}"] = own_s / plain_s
    return figures


def plot(result: Result, left: Any, right: Any) -> None:
    """Images per second and latency over the load, for each number of steps."""
    for number, steps in enumerate(amount.steps for amount in FULL):
        loads = result.samples.get(f"loads_{steps}", [])
        if not loads:
            continue
        capacity = result.figures[f"naive_images_per_s_{steps}"]
        for style, prefix, label in (
            ("o:", "naive_", PLAIN_LABEL),
            *((style, *FLEETS[name]) for style, name in (("o-", ELASTIC), ("o--", FIXED))),
        ):
            keys = [f"{steps}_load_{load:g}".replace(".", "_") for load in loads]
            rates = [result.figures[f"{prefix}images_per_s_{key}"] / capacity for key in keys]
            options = {"color": f"C{number}", "label": f"{label}, {steps} steps"}
            left.plot(loads, rates, style, **options)
            left.plot(
                [1.45], [result.figures[f"{prefix}images_per_s_{steps}"] / capacity], "*", color=f"C{number}"
            )
            right.plot(loads, [result.figures[f"{prefix}p50_s_{key}"] for key in keys], style, **options)
            right.plot(
                loads,
                [result.figures[f"{prefix}p95_s_{key}"] for key in keys],
                style,
                alpha=0.4,
                color=f"C{number}",
            )
    left.set(xlabel="arrivals", ylabel="images", title="over what the plain fleet can do; ★ all jobs at once")
    right.set(xlabel="arrivals over what the plain fleet can do", ylabel="s", title="latency: p50; p95 pale")
    if left.get_legend_handles_labels()[0]:
        left.legend()


class Bench:
    """Gives the same jobs to every fleet, one after the other."""

    def __init__(self, place: Place, fleets: Mapping[str, TraceFleet], amount: Amount) -> None:
        self._place, self._fleets, self._amount = place, fleets, amount

    def saturated(self, number: int) -> Round:
        """All jobs at once; the order of the fleets changes with ``number``."""
        stream = spread(make_stream(self._amount.jobs, 1.0), None)
        return self._round(stream, f"r{number}", number)

    def at_rate(self, per_s: float, number: int) -> Round:
        """Jobs that come at random times; each ``number`` has others, and the order of the fleets changes."""
        count = self._amount.jobs_per_load
        stream = spread(make_stream(count, 1.0, first=number * count), per_s)
        return self._round(stream, f"l{number}", number)

    def check_images(self) -> None:
        """Raises `CheckFailed` unless all fleets' images are equal to the rounding of fused weights."""
        for job in self._put(make_stream(COMPARED, 1.0), "same"):
            theirs = self._fleets[PLAIN].image(job, self._amount.steps)
            for name in FLEETS:
                distance = largest_difference(self._fleets[name].image(job, self._amount.steps), theirs)
                if distance > 1:
                    raise CheckFailed(f"{name}: a pixel of job {job.seed} differs by {distance} of 255")

    def _round(self, stream: Sequence[TraceJob], run: str, number: int) -> Round:
        jobs = self._put(stream, run)
        order = list(self._fleets)
        if number % 2:
            order.reverse()
        outcome = {name: self._fleets[name].replay(jobs, self._amount.steps) for name in order}
        shown = ", ".join(f"{name} {outcome[name].images_per_s:.2f}" for name in self._fleets)
        print(f"  {len(jobs)} jobs of {self._amount.steps} steps, {run}: {shown} images/s", flush=True)
        return outcome

    def _put(self, stream: Sequence[TraceJob], run: str) -> list[TraceJob]:
        """The stream with LoRAs that nobody has seen, in the bucket."""
        jobs, files = cold(stream, f"{run}s{self._amount.steps}", self._place.home / "loras")
        for path in files:
            self._place.storage.put_lora(path)
            path.unlink()
        return jobs


def _describe(replayed: Replayed) -> dict[str, float]:
    return {"images_per_s": replayed.images_per_s, "cpu_s_per_image": replayed.cpu_s_per_image}


def _latencies_s(rounds: Sequence[Round], name: str) -> list[float]:
    """Of the jobs of all rounds in one fleet."""
    return [late_s for each in rounds for late_s in each[name].latencies_s]


@contextmanager
def _place() -> Iterator[Place]:
    """S3 that is reached over a slow line, and the files of LoRAs."""
    home = FOLDER / "trace"
    shutil.rmtree(home, ignore_errors=True)
    with running_s3(home / "s3") as storage, slow_line(storage.port, LINE_BYTES_PER_S) as port:
        write_loras(home / "loras")
        yield Place(home, storage, f"http://127.0.0.1:{port}")
