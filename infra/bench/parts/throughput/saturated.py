"""Images per device-second of three fleets of as many timed devices, while jobs wait: elastic, fixed, plain.

- elastic: UNet workers that compute ControlNets for each other;
- fixed: as many UNet as ControlNet workers, each with one role for life;
- plain: Celery workers that do serially what diffusers does (`infra.bench.timed.plain_app`).

All three are alive at once and have work by turns. The first two share their servers, not their models.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Protocol

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER, CheckFailed
from infra.bench.harness.workers import describe_workers, wait_until_loaded
from infra.bench.simulate.measurements import TIMED, Measurements, read_measurements
from infra.bench.simulate.traffic import SimulatedJob
from infra.bench.timed.columns import COLUMNS, Column, ColumnJobs, controlnet_workers, finished_s
from infra.bench.timed.fleet import devices
from infra.bench.timed.models import CONTROLNETS, NAME
from infra.bench.timed.plain_fleet import PlainTimedFleet, running_plain_fleet
from infra.bench.timed.times import Times

#: What the fixed fleet serves, so that no worker of another fleet can help it.
FIXED_NAME, FIXED_CONTROLNETS = "timed-fixed", tuple(f"timed-fixed-controlnet{i}" for i in (1, 2, 3))
MEMORY_BYTES = 24_000_000_000
#: Rates are taken from the ends of the first wave of jobs to those of the last one.
WAVES = 2
ELASTIC, FIXED, PLAIN = "elastic", "fixed", "plain"


class Sizes(NamedTuple):
    """What is measured; of each fleet so many devices."""

    times: Times
    steps: int
    devices: int
    columns: Sequence[Column]
    rounds: int

    @property
    def measured(self) -> Measurements:
        """What the devices sleep for."""
        return read_measurements(TIMED).stretched(self.times.stretch, self.times.step_stretch)


class SaturatedFleet(Protocol):
    """One of the three."""

    def warm_up(self) -> None:
        """Have every device load all that it will use."""

    def images_per_device_s(self, column: Column) -> float:
        """Generate jobs of a column, more than there are devices."""


@contextmanager
def running_saturated_fleets(
    fleet: Fleet, catalog: Path, sizes: Sizes
) -> Iterator[Mapping[str, SaturatedFleet]]:
    """The three by name, warm; ``fleet`` has the servers, and its own workers stay out of it."""
    count, memory = sizes.devices, {"SWIFT_MODEL_MEMORY_BYTES": str(MEMORY_BYTES)}
    unets = count // 2
    servers = (",".join(FIXED_CONTROLNETS),) * (count - unets)
    own, none = ({"SWIFT_WORKER_CONTROLNETS": names} for names in (",".join(CONTROLNETS), "none"))
    with (
        running_plain_fleet(
            FOLDER / "share-plain", catalog, workers=count, memory_bytes=MEMORY_BYTES
        ) as plain,
        devices(fleet, unets=count, models=NAME, environment=memory | own) as elastic,
        devices(
            fleet, unets=unets, models=FIXED_NAME, controlnets=servers, environment=memory | none
        ) as fixed,
    ):
        fleets: dict[str, SaturatedFleet] = {
            PLAIN: PlainFleet(plain, sizes),
            ELASTIC: SwiftFleet(fleet, sizes, NAME, CONTROLNETS, elastic, count),
            FIXED: SwiftFleet(fleet, sizes, FIXED_NAME, FIXED_CONTROLNETS, fixed, unets),
        }
        for each in fleets.values():
            each.warm_up()
        yield fleets


class SwiftFleet:
    """Workers of this fleet, of which ``unets`` generate."""

    def __init__(
        self,
        fleet: Fleet,
        sizes: Sizes,
        model: str,
        controlnets: Sequence[str],
        pids: Sequence[int],
        unets: int,
    ) -> None:
        self._fleet = fleet
        self._sizes = sizes
        self._jobs = ColumnJobs(fleet, sizes.steps, model, controlnets)
        self._pids = list(pids)
        self._unets = unets
        #: CPU seconds of a step over the seconds that its devices sleep, in every measurement.
        self.cpu_shares: list[float] = []

    def warm_up(self) -> None:
        """A job with everything for each UNet device; then all load what is left while they are idle."""
        self._jobs.at_once(COLUMNS[-1], self._unets)
        wait_until_loaded(self._fleet, self._pids)

    def images_per_device_s(self, column: Column) -> float:
        """Jobs in `WAVES` waves, submitted together."""
        before_s = self._cpu_s()
        jobs = self._jobs.at_once(column, WAVES * self._unets)
        spent_s = self._cpu_s() - before_s
        measured = self._sizes.measured
        step_s = measured.unet_s + column.controlnets * measured.controlnet_s
        self.cpu_shares.append(spent_s / (len(jobs) * self._sizes.steps * step_s))
        names = {worker["name"] for worker in describe_workers(self._fleet, self._pids)}
        if others := controlnet_workers(jobs) - names:
            raise CheckFailed(f"ControlNets were computed by workers of another fleet: {', '.join(others)}")
        return steady_rate([finished_s(job) for job in jobs], self._unets) / len(self._pids)

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, self._pids))


class PlainFleet:
    """Plain Celery workers: serial, so one wave says what every wave takes."""

    def __init__(self, plain: PlainTimedFleet, sizes: Sizes) -> None:
        self._plain, self._sizes = plain, sizes

    def warm_up(self) -> None:
        """Two short jobs with everything for each device: none has a second one while others load."""
        every = tuple(range(len(CONTROLNETS)))
        count = 2 * self._sizes.devices
        self._plain.replay([SimulatedJob(0.0, 0, every, steps=1) for _ in range(count)])

    def images_per_device_s(self, column: Column) -> float:
        """A job for each device."""
        controlnets, loras = tuple(range(column.controlnets)), tuple(range(column.loras))
        job = SimulatedJob(0.0, 0, controlnets, loras, self._sizes.steps)
        latencies_s = self._plain.replay([job] * self._sizes.devices)
        return len(latencies_s) / sum(latencies_s)


def steady_rate(ends_s: Sequence[float], first: int) -> float:
    """Jobs a second after the ``first`` ones have ended, which began with nothing before them.

    Between the means of the first and of the last ``first`` ends: devices that are done sooner than others
    have begun their next job, or help the last ones.
    """
    ordered = sorted(ends_s)
    return (len(ordered) - first) / (fmean(ordered[-first:]) - fmean(ordered[:first]))


def measure_saturated(
    fleets: Mapping[str, SaturatedFleet], sizes: Sizes
) -> dict[str, dict[str, list[float]]]:
    """Images per device-second by fleet and column, for devices that do not sleep longer; fleets by turns."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in fleets}
    for column in sizes.columns:
        for i in range(sizes.rounds):
            order = list(fleets)
            if i % 2:
                order.reverse()
            for name in order:
                rate = sizes.times.stretch * fleets[name].images_per_device_s(column)
                rates[name].setdefault(column.name, []).append(rate)
        shown = ", ".join(f"{name} {max(rates[name][column.name]):.3f}" for name in fleets)
        print(f"  {column.name}, images per device-second: {shown}", flush=True)
    return rates
