"""Two fleets of timed devices that get the same stream of jobs: elastic workers, and plain Celery workers.

Both have memory for fewer models than there are. This fleet's devices sleep `STRETCH` times as long as H800s,
so that its processes on few cores cost little of a step; the plain fleet's, whose processes cost nothing,
`PLAIN_STRETCH` times.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from infra.bench.harness.fleet import running_fleet
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER
from infra.bench.simulate.config import Policy
from infra.bench.simulate.goodput import Attainment, attainment
from infra.bench.simulate.measurements import TIMED, Measurements, read_measurements
from infra.bench.simulate.traffic import SimulatedJob
from infra.bench.timed.fleet import devices
from infra.bench.timed.models import make_timed
from infra.bench.timed.plain_fleet import running_plain_fleet
from infra.bench.timed.stream import Stream

MODELS = ("timed", "timed-b", "timed-c")
CONTROLNETS = tuple(f"timed-controlnet{i}" for i in range(1, 9))
MEMORY_BYTES = 24_000_000_000
STRETCH, PLAIN_STRETCH = 8.0, 0.25


class GoodputFleet(NamedTuple):
    """A running fleet, and by how much its devices are stretched."""

    policy: Policy  # of the simulation of it
    stretch: float
    attain: Callable[[Sequence[SimulatedJob]], Attainment]  # under these jobs


@contextmanager
def running_goodput_fleets(workers: int, shares: list[float]) -> Iterator[tuple[GoodputFleet, GoodputFleet]]:
    """This fleet and the plain one, warm; ``shares`` gets each replay's CPU seconds per second of steps."""
    real = read_measurements(TIMED)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        theirs = make_timed(_made(folder / "plain"), MODELS, CONTROLNETS, PLAIN_STRETCH)
        plain = running.enter_context(
            running_plain_fleet(FOLDER / "goodput-plain", theirs, workers=workers, memory_bytes=MEMORY_BYTES)
        )
        catalog = make_timed(_made(folder / "ours"), MODELS, CONTROLNETS, STRETCH)
        decoy = {"worker_models": ("emoji-sd",), "worker_controlnets": ("none",)}
        fleet = running.enter_context(
            running_fleet(catalog=catalog, unet_workers=1, controlnet_workers=0, **decoy)
        )
        memory = {"SWIFT_MODEL_MEMORY_BYTES": str(MEMORY_BYTES)}
        pids = running.enter_context(
            devices(fleet, unets=workers, models=",".join(MODELS), environment=memory)
        )
        stream, stretched = Stream(fleet, MODELS, CONTROLNETS), real.stretched(STRETCH)

        def attain_ours(jobs: Sequence[SimulatedJob]) -> Attainment:
            before_s = sum(map(cpu_s, pids))
            replayed = stream.replay(jobs)
            spent_s = sum(map(cpu_s, pids)) - before_s
            shares.append(spent_s / (sum(job.steps for job in jobs) * stretched.unet_s))
            return _attained(stretched, jobs, replayed.latencies_s)

        def attain_theirs(jobs: Sequence[SimulatedJob]) -> Attainment:
            return _attained(real.stretched(PLAIN_STRETCH), jobs, plain.replay(jobs))

        plain.replay(_warm_up(workers))
        stream.replay(_warm_up(workers))
        elastic = GoodputFleet("elastic", STRETCH, attain_ours)
        yield elastic, GoodputFleet("plain", PLAIN_STRETCH, attain_theirs)


def alone_s(measured: Measurements, job: SimulatedJob) -> float:
    """Seconds of a job alone in diffusers."""
    return measured.alone_s(job.steps, len(job.controlnets), len(job.loras))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _warm_up(devices: int) -> list[SimulatedJob]:
    """Short jobs, two for each device: every model and ControlNet has been used once."""
    count = max(2 * devices, len(CONTROLNETS))
    return [SimulatedJob(0.0, i % len(MODELS), (i % len(CONTROLNETS),), steps=2) for i in range(count)]


def _attained(measured: Measurements, jobs: Sequence[SimulatedJob], latencies_s: list[float]) -> Attainment:
    shares = attainment(latencies_s, [alone_s(measured, job) for job in jobs])
    print(
        f"  {', '.join(f'{share:.0%} within {factor:g} ×' for factor, share in shares.items())}", flush=True
    )
    return shares
